"""Readers of pages: one read for all who want it, and nothing kept of what was handed out."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from contextlib import aclosing

import pytest
from django.db import OperationalError

from llmstream import readers
from llmstream.database import run_db
from llmstream.events import TEXT_DELTA
from llmstream.hub import Hub
from llmstream.log.reading import Page, read_page
from llmstream.readers import follow_from, resume
from tests.support import until, within
from tests.test_readers import answered, at, events, fresh, news, reader, say

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


async def test_readers_at_one_position_read_a_page_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = await run_db(fresh, await run_db(answered, 20))
    pages, held = 0, threading.Event()

    def counted(conversation: int, after: int, *, max_bytes: int) -> Page:
        nonlocal pages
        pages += 1
        assert held.wait(10)
        return read_page(conversation, after, max_bytes=max_bytes)

    monkeypatch.setattr(readers, "read_page", counted)
    everybody = [reader(hub, follow_from(owner, 0)).chunks() for _ in range(20)]
    waiting = [asyncio.ensure_future(news(chunks)) for chunks in everybody]
    await until(lambda: pages)
    await until(lambda: hub.topics[owner.pk].readers == 20)
    waiting.pop(0).cancel()  # Whoever asked first has left.
    held.set()
    bodies = await within(asyncio.gather(*waiting))
    assert {event["type"] for event in events(bodies[0])} > {TEXT_DELTA}
    assert (len(set(bodies)), pages) == (1, 1)
    for chunks in everybody:
        await chunks.aclose()


async def test_a_failure_to_read_reaches_everybody_who_waits_and_nobody_later(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await run_db(fresh, await run_db(answered))
    fails = True

    def flaky(conversation: int, after: int, *, max_bytes: int) -> Page:
        if fails:
            raise OperationalError
        return read_page(conversation, after, max_bytes=max_bytes)

    monkeypatch.setattr(readers, "read_page", flaky)
    everybody = [reader(hub, follow_from(owner, 0)).chunks() for _ in range(3)]
    found = await within(asyncio.gather(*map(news, everybody), return_exceptions=True))
    assert [type(error) for error in found] == [OperationalError] * 3
    fails = False
    async with aclosing(reader(hub, follow_from(owner, 0)).chunks()) as chunks:
        assert await within(news(chunks))


async def test_what_a_reader_has_handed_out_it_does_not_keep(hub: Hub) -> None:
    generation = await run_db(answered, 0)
    await run_db(say, generation, "x" * 500_000)
    owner = await run_db(fresh, generation)
    for position in (None, at(owner, 0)):
        tracemalloc.start()
        try:
            start = await run_db(resume, owner, position)
            assert start is not None
            async with aclosing(reader(hub, start).chunks()) as chunks:
                del start
                while len(await news(chunks)) < 500_000:
                    pass
                waiting = asyncio.ensure_future(anext(chunks))
                await until(lambda: hub.topics and hub.topics[owner.pk].head == owner.head)
                # The thread that read it may take a moment to let go.
                await until(lambda: tracemalloc.get_traced_memory()[0] < 250_000)
                waiting.cancel()
                await asyncio.wait([waiting])
        finally:
            tracemalloc.stop()
