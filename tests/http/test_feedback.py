"""What people think of answers: kept for each person, shown to that person only, and gone when it is withdrawn."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from django.test import AsyncClient

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.prompts import Sent
from llmstream.models import Feedback, Membership
from tests.admin.staff import answered
from tests.http.client import ROOT, browser, conversation_path, signed_in
from tests.support import site

pytestmark = pytest.mark.django_db(transaction=True)


def path(message: str) -> str:
    """Return the address of a message's feedback."""
    return f"{ROOT}messages/{message}/feedback/"


async def rate(client: AsyncClient, sent: Sent, **body: Any) -> Any:
    """Rate an answer."""
    return await client.post(path(sent.answer.public_id), body, content_type="application/json")


async def own(client: AsyncClient, sent: Sent) -> list[Any]:
    """Return what the client thinks, by the state and by the list: both must agree."""
    state = orjson.loads((await client.get(conversation_path(sent.conversation))).content)
    listed = orjson.loads((await client.get(conversation_path(sent.conversation, "feedback/"))).content)["feedback"]
    found = [message["feedback"] for message in state["messages"]]
    assert [listed.get(message["id"]) for message in state["messages"]] == found
    return found


async def test_a_rating_is_changed_and_withdrawn_and_is_its_givers_alone(running: Engine) -> None:
    ann, _ = await run_db(signed_in)
    bob, reader = await run_db(signed_in, "bob")
    sent = await run_db(answered)
    await run_db(lambda: Membership.objects.create(conversation=sent.conversation, user=reader, role="reader"))
    assert await own(ann, sent) == [None, None]
    given = await rate(ann, sent, rating="up")
    assert (given.status_code, orjson.loads(given.content)) == (200, {"rating": "up", "comment": ""})
    await rate(ann, sent, rating="down", comment=" The wrong city. ")
    assert await own(ann, sent) == [None, {"rating": "down", "comment": "The wrong city."}]
    assert await own(bob, sent) == [None, None]
    await rate(bob, sent, rating="up")
    assert await run_db(Feedback.objects.count) == 2
    for _ in range(2):
        assert (await ann.delete(path(sent.answer.public_id))).status_code == 204
    assert await own(ann, sent) == [None, None]
    assert await own(bob, sent) == [None, {"rating": "up", "comment": ""}]


async def test_a_visitor_rates_for_the_session(running: Engine) -> None:
    visitor = AsyncClient()
    with site(ALLOW_ANONYMOUS=True):
        made = orjson.loads((await visitor.post(f"{ROOT}conversations/", {}, content_type="application/json")).content)
        urls = made["urls"]
        sent = orjson.loads(
            (await visitor.post(urls["messages"], {"content": "Hi"}, content_type="application/json")).content
        )
        answer = path(sent["generation"]["message"])
        typed: Any = {"content_type": "application/json"}
        assert (await visitor.post(answer, {"rating": "up"}, **typed)).status_code == 200
        assert (await AsyncClient().post(answer, {"rating": "up"}, **typed)).status_code == 404
        state = orjson.loads((await visitor.get(urls["self"])).content)
    assert state["messages"][-1]["feedback"] == {"rating": "up", "comment": ""}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"rating": "fine"}, 400, "invalid_request"),
        ({"rating": "up", "comment": 1}, 400, "invalid_request"),
        ({"rating": "up", "comment": "x" * 1_001}, 413, "too_large"),
    ],
)
async def test_what_is_no_rating_is_refused(running: Engine, body: Any, status: int, code: str) -> None:
    ann, _ = await run_db(signed_in)
    sent = await run_db(answered)
    refused = await rate(ann, sent, **body)
    assert refused.status_code == status
    assert orjson.loads(refused.content)["error"]["code"] == code
    assert not await run_db(Feedback.objects.exists)


async def test_only_answers_of_visible_conversations_are_rated(running: Engine) -> None:
    ann, _ = await run_db(signed_in)
    stranger, _ = await run_db(signed_in, "bob")
    sent = await run_db(answered)
    typed: Any = {"content_type": "application/json"}
    assert (await ann.post(path(sent.message.public_id), {"rating": "up"}, **typed)).status_code == 400
    assert (await rate(stranger, sent, rating="up")).status_code == 404
    assert (await ann.post(path("nothing"), {"rating": "up"}, **typed)).status_code == 404
    assert (await AsyncClient().post(path(sent.answer.public_id), {"rating": "up"}, **typed)).status_code == 401


async def test_a_rating_needs_the_csrf_token(running: Engine) -> None:
    sent = await run_db(answered)
    client = await run_db(browser, "ann")
    assert (await rate(client, sent, rating="up")).status_code == 403
    assert not await run_db(Feedback.objects.exists)
