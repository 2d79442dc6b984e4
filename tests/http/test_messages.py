"""Prompts over HTTP: sent once however often they are repeated, and answered whether or not anybody waits."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import orjson
import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import Generation, Message
from llmstream.signals import message_created
from tests.http.client import Call, conversation_path, own, signed_in
from tests.support import PATIENCE, ended, site, within

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_client_that_goes_away_when_its_prompt_is_stored_gets_its_answer(running: Engine) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hold(**_: Any) -> None:
        entered.set()
        assert go_on.wait(PATIENCE)

    client, _ = await run_db(signed_in)
    owner = await run_db(own)
    message_created.connect(hold, sender=Message)
    try:
        with site(LEASE=600.0):  # Nobody finds it later.
            call = Call(client, conversation_path(owner, "messages/"), b'{"content": "Hello"}')
            request = asyncio.ensure_future(call())
            assert await asyncio.to_thread(entered.wait, PATIENCE), call.sent
            call.gone.set()
            await asyncio.wait_for(asyncio.gather(request, return_exceptions=True), PATIENCE)
            go_on.set()
            generation = await ended(await run_db(Generation.objects.get, conversation=owner))
    finally:
        message_created.disconnect(hold, sender=Message)
    assert (generation.status, generation.message.text) == ("completed", "Hello")


async def test_a_prompt_repeated_at_once_is_sent_once(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    owner = await run_db(own)
    path, key = conversation_path(owner, "messages/"), {"Idempotency-Key": "same"}

    async def post(content: str) -> Any:
        return await client.post(path, {"content": content}, content_type="application/json", headers=key)

    with site():
        responses = await within(asyncio.gather(*[post("Hello") for _ in range(20)]))
        assert {response.status_code for response in responses} == {201}
        bodies = [orjson.loads(response.content) for response in responses]
        assert len({(body["message"]["id"], body["generation"]["id"], body["last_event_id"]) for body in bodies}) == 1
        other = await post("Something else")
        generation = await ended(await run_db(Generation.objects.get, conversation=owner))
    assert (other.status_code, orjson.loads(other.content)["error"]["code"]) == (409, "idempotency_conflict")
    assert generation.message.text == "Hello"
    assert await run_db(Message.objects.filter(conversation=owner).count) == 2
