"""Under WSGI: no streams, everything else, and answers that are generated all the same."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from django.test import Client

from llmstream.generations.endings import stop
from llmstream.models import Event, Generation
from tests.http.client import JSON, SSE, conversation_path, generation_path, own, signed_in_sync
from tests.support import PATIENCE, ask, check_log, site

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client() -> Client:
    """A signed-in client of the WSGI handler."""
    return signed_in_sync()


def completed(public_id: str) -> Generation:
    """Return a generation once it has ended."""
    deadline = time.monotonic() + PATIENCE
    while (found := Generation.objects.get(public_id=public_id)).status in Generation.ACTIVE:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def post(client: Client, path: str, body: dict[str, Any], **headers: str) -> Any:
    """Post JSON."""
    return client.post(path, body, content_type="application/json", headers=headers)


def test_streams_are_refused_and_nothing_is_begun(client: Client) -> None:
    sent = ask(own())
    stop(sent.generation.pk)
    before = Event.objects.count()
    generation = sent.generation.public_id
    responses = [
        client.get(conversation_path(sent.conversation, "events/")),
        client.get(generation_path(generation, "events/")),
        post(client, conversation_path(sent.conversation, "messages/"), {"content": "Hi"}, **SSE),
        post(client, generation_path(generation, "retry/"), {}, **SSE),
    ]
    for response in responses:
        assert response.status_code == 501
        assert orjson.loads(response.content)["error"]["code"] == "streaming_unavailable"
    assert Event.objects.count() == before


def test_a_prompt_is_answered_after_its_request(client: Client) -> None:
    with site():
        response = post(client, conversation_path(own(), "messages/"), {"content": "Hello"})
        assert response.status_code == 201
        generation = completed(orjson.loads(response.content)["generation"]["id"])
    assert (generation.status, generation.message.text) == ("completed", "Hello")
    check_log(generation.conversation_id)


def test_a_stopped_answer_is_answered_again(client: Client) -> None:
    sent = ask(own(), "Again")
    assert post(client, generation_path(sent.generation.public_id, "stop/"), {}).status_code == 200
    with site():
        response = post(client, generation_path(sent.generation.public_id, "retry/"), {})
        generation = completed(orjson.loads(response.content)["generation"]["id"])
    assert (generation.status, generation.attempt, generation.message.text) == ("completed", 2, "Again")


def test_a_poll_answers_at_once_however_long_it_may_wait(client: Client) -> None:
    owner = own()
    ask(owner)
    owner.refresh_from_db()
    first = client.get(conversation_path(owner, f"events/?after={owner.public_id}.1.{0:012d}"), headers=JSON)
    assert [event["type"] for event in first.json()["events"]][-1] == "generation-start"
    begun = time.monotonic()
    second = client.get(conversation_path(owner, f"events/?wait=30&after={owner.last_event_id}"), headers=JSON)
    assert second.json() == {"events": [], "last_event_id": str(owner.last_event_id), "more": False}
    assert time.monotonic() - begun < PATIENCE
