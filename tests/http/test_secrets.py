"""What must not get out, over every way: the system prompt, keys, what a provider said, texts of exceptions."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any

import orjson
import pytest
from django.test import AsyncClient

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.exceptions import ProviderRejected
from llmstream.models import Conversation, Event
from llmstream.providers.base import ProviderRequest
from tests.http.client import JSON, ROOT, Call, conversation_path, generation_path, own, signed_in
from tests.support import ask_in, ended, model, site, stored
from tests.websocket.visitors import visit

pytestmark = pytest.mark.django_db(transaction=True)

PROMPT, KEY = "canary-of-the-system-prompt", "sk-canary-of-the-key"


async def crashing(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Fail with everything that must not be told."""
    yield "Hello"
    raise RuntimeError(f"{KEY} {request.messages[0].content}")


async def rejecting(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Fail with a service's body in the chain of exceptions."""
    yield "Hello"
    try:
        raise ValueError(f'{{"error": "{KEY}"}} {request.messages[0].content}')
    except ValueError as body:
        raise ProviderRejected from body


async def everything_of(client: AsyncClient, found: Conversation, generation: str) -> bytes:
    """Return what clients get of a conversation over every way."""
    told = []
    for path in (conversation_path(found), conversation_path(found, "events/?after="), f"{ROOT}conversations/"):
        told.append((await client.get(path, headers=JSON)).content)
    start = stored_start(found)
    for path in (generation_path(generation, f"events/?last_event_id={start}"), generation_path(generation, "events/")):
        call = Call(client, path, accept="text/event-stream")
        await call()
        told.append(call.body)
    async with visit(client) as visitor:
        await visitor.ask("join", room=found.public_id, generation=generation, last_event_id=start)
        await visitor.until(lambda frame: frame["type"] == "end")
        await visitor.ask("retry", generation=generation, model="nothing")
        told.append(orjson.dumps(visitor.frames))
    return b"".join(told)


def stored_start(found: Conversation) -> str:
    """Return the position before a conversation's first event."""
    return f"{found.public_id}.{found.epoch}.{0:012d}"


@pytest.mark.parametrize("script", [crashing, rejecting])
async def test_what_a_failure_knows_is_told_to_nobody(
    running: Engine, script: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = await run_db(signed_in, "ann")
    found = await run_db(own, "ann")
    with caplog.at_level(logging.DEBUG, "llmstream"), site(models={"default": model(script, SYSTEM=PROMPT)}):
        sent = await ask_in(running, found)
        generation = await ended(sent.generation)
        told = await everything_of(client, found, generation.public_id)
        events = await run_db(stored, found)
    assert generation.status == "failed"
    assert b"Hello" in told
    assert generation.error_code.encode() in told
    for secret in (PROMPT, KEY):
        assert secret.encode() not in told
        assert secret not in orjson.dumps(events).decode()
    assert await run_db(Event.objects.filter(conversation=found).count) == len(events)
    assert PROMPT not in "".join(record.getMessage() for record in caplog.records)
    assert KEY not in "".join(record.getMessage() for record in caplog.records)
