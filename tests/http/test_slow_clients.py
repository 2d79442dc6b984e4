"""Clients that take what they are sent slowly, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.test import AsyncClient

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.http.handoff import StreamHandoff
from llmstream.http.streams import EventStream
from llmstream.models import Message
from tests.http.client import Call, conversation_path
from tests.http.streaming import answered, frames, idle, opened, opening
from tests.support import PATIENCE, ask, changed, until, within

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _quick_timer() -> Iterator[None]:
    """Let the engine's timer tick often, from its first tick on."""
    with changed(POLL_INTERVAL=0.01):
        yield


async def test_a_client_that_takes_nothing_is_cut_off(client: AsyncClient, app: Any, running: Engine) -> None:
    owner = await run_db(opened)
    with changed(WRITE_TIMEOUT=0.05):
        call = Call(client, conversation_path(owner, "events/"), app=app)
        task = asyncio.create_task(call())
        await until(lambda: call.body)
        call.taking.clear()
        await run_db(ask, owner)
        await asyncio.wait([task], timeout=PATIENCE)
        assert task.done()
        await asyncio.gather(task, return_exceptions=True)
    assert not call.complete
    await idle(running)


class SlowCall(Call):
    """A call whose client takes 16 KiB between two looks of the engine at it."""

    looks = 0

    async def _send(self, message: Mapping[str, Any]) -> None:
        enough = self.looks + len(message.get("body", b"")) // 16_000
        await until(lambda: self.looks >= enough)
        await super()._send(message)


async def test_a_client_that_takes_large_events_slowly_is_not_cut_off(
    client: AsyncClient, app: Any, running: Engine
) -> None:
    generation = await run_db(answered)
    text = "x" * 200_000
    await run_db(Message.objects.filter(pk=generation.message_id).update, parts=[{"type": "text", "text": text}])
    call = SlowCall(client, conversation_path(generation.conversation, "events/"), app=app)

    def look(now: float) -> None:
        call.looks += 1
        for stream in running.streams:
            if isinstance(stream, EventStream) and stream._writing:
                stream._moved -= 250.0  # So long the client takes; the machine may take long, too.

    with changed(WRITE_TIMEOUT=600.0):
        running.tickers.append(look)
        async with opening(call) as task:
            await until(lambda: task.done() or call.body.count(b"\n\n") == 2)
            assert not task.done()
            (snapshot,) = frames(call.body)
            assert snapshot["messages"][-1]["parts"][0]["text"] == text
        running.tickers.remove(look)
    await idle(running)


class CuttableCall(Call):
    """A call whose connection can be found and cut, as with uvicorn."""

    @property
    def transport(self) -> CuttableCall:
        """What has the connection."""
        return self

    def abort(self) -> None:
        """Cut it: the server tells that the client is gone."""
        self.gone.set()


async def test_the_connection_of_a_client_that_takes_nothing_is_cut(client: AsyncClient, running: Engine) -> None:
    """Only closed, it would stay open with what the client has not taken; and no server need log an exception."""
    owner = await run_db(opened)
    with changed(WRITE_TIMEOUT=0.05):
        call = CuttableCall(client, conversation_path(owner, "events/"), app=StreamHandoff(ASGIHandler()))
        task = asyncio.create_task(call())
        await until(lambda: call.body)
        call.taking.clear()
        await run_db(ask, owner)
        await within(asyncio.shield(task))
    assert call.gone.is_set()
    await idle(running)
