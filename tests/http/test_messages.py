"""Prompts over HTTP: sent once however often they are repeated, and answered whether or not anybody waits."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import Generation, Message
from llmstream.signals import message_created
from tests.http.client import Call, conversation_path, own, signed_in
from tests.support import PATIENCE, ended, site

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
        with site():
            call = Call(client, conversation_path(owner, "messages/"), b'{"content": "Hello"}')
            request = asyncio.ensure_future(call())
            assert await asyncio.to_thread(entered.wait, PATIENCE), call.sent
            call.gone.set()
            await asyncio.wait_for(asyncio.gather(request, return_exceptions=True), PATIENCE)
            go_on.set()
            generation = await ended(await run_db(Generation.objects.get, conversation=owner), 3.0)
    finally:
        message_created.disconnect(hold, sender=Message)
    assert (generation.status, generation.message.text) == ("completed", "Hello")
