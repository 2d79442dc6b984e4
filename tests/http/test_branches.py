"""Branches over HTTP: chosen by those who may write, edited, written anew once however often it is asked for."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from django.test import AsyncClient

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import Conversation, Generation
from tests.http.client import conversation_path, generation_path, own, signed_in
from tests.support import ended, site, stored, types

pytestmark = pytest.mark.django_db(transaction=True)


async def post(client: AsyncClient, path: str, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
    """Post JSON; return status and body."""
    response: Any = await client.post(path, body, content_type="application/json", headers=headers)
    return response.status_code, orjson.loads(response.content)


async def patch(client: AsyncClient, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Patch with JSON; return status and body."""
    response: Any = await client.patch(path, body, content_type="application/json")
    return response.status_code, orjson.loads(response.content)


async def prompt(client: AsyncClient, owner: Conversation, **body: Any) -> dict[str, Any]:
    """Send a prompt; return the outcome when it is answered."""
    status, sent = await post(client, conversation_path(owner, "messages/"), body)
    assert status == 201, sent
    await ended(await run_db(Generation.objects.get, public_id=sent["generation"]["id"]))
    return sent


async def test_a_message_is_edited_and_the_other_branch_chosen_again(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    owner = await run_db(own)
    with site():
        first = await prompt(client, owner, content="One")
        edited = await prompt(client, owner, content="Two", edits=first["message"]["id"])
        assert (edited["message"]["parent"], edited["message"]["author"]["name"]) == (None, "ann")
        state = orjson.loads((await client.get(conversation_path(owner))).content)
        assert state["leaf"] == edited["generation"]["message"]
        status, changed = await patch(client, conversation_path(owner), {"leaf": first["message"]["id"], "title": "T"})
        assert (status, changed["title"], changed["leaf"]) == (200, "T", first["generation"]["message"])
        again = await prompt(client, owner, content="Three")
        assert again["message"]["parent"] == first["generation"]["message"]
        before = await run_db(stored, owner)
        for wrong in ("x" * 22, "", None, 7):
            status, refused = await patch(client, conversation_path(owner), {"leaf": wrong, "title": "No"})
            assert (status, refused["error"]["code"]) == (400, "invalid_request")
        assert await run_db(stored, owner) == before
    assert types(before).count("branch-chosen") == 1
    assert (await run_db(Conversation.objects.get, pk=owner.pk)).title == "T"


async def test_a_completed_answer_is_written_anew_once(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    owner = await run_db(own)
    with site():
        first = await prompt(client, owner, content="Hi")
        path = generation_path(first["generation"]["id"], "retry/")
        outcomes = [await post(client, path, {"model": "default"}, **{"Idempotency-Key": "k"}) for _ in range(2)]
        outcomes.append(await post(client, path, {"client_id": "k"}))
        assert {status for status, _ in outcomes} == {201}
        assert len({body["generation"]["id"] for _, body in outcomes}) == 1
        generation = await ended(await run_db(Generation.objects.get, public_id=outcomes[0][1]["generation"]["id"]))
        assert (generation.attempt, generation.message.text) == (2, "Hi")
        status, refused = await post(client, path, {"model": "other"})
        assert (status, refused["error"]["code"]) == (400, "unknown_model")
    assert await run_db(Generation.objects.filter(conversation=owner).count) == 2
