"""Processes that end in order: what they run goes on elsewhere at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from llmstream.database import run_db
from llmstream.engine import get_engine
from llmstream.generations.prompts import Sent
from llmstream.providers.base import Finish, ProviderRequest
from tests.support import (
    PATIENCE,
    Upstream,
    asked,
    clean_engine,
    ended,
    model,
    site,
    stored_one,
    until,
    within,
)

from .services import Service, fresh, served

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


async def test_a_process_that_ends_hands_its_answers_over_at_once(transactional_db: None) -> None:
    service, upstream = Service(), Upstream()
    models = {"default": served(service), "second": model(upstream)}
    with site(models=models, LEASE=600.0, POLL_INTERVAL=0.02):
        async with clean_engine() as engine:
            sent, other = await asked(engine), await asked(engine, model="second")
            service.say("one ")
            await stored_one(sent.conversation, "text-delta")
            await within(upstream.called.wait())
            await engine.leave()
            for left in (sent, other):
                assert (await run_db(fresh, left)).status == "queued"
            await until(lambda: not engine.runs)
        service.say("two", Finish("stop"))
        upstream.say("again")
        upstream.finish()
        async with clean_engine() as engine:
            engine.wake()
            generation, again = await ended(sent.generation), await ended(other.generation)
    assert (generation.message.text, generation.takeovers, service.cancelled) == ("one two", 0, [])
    assert again.message.text == "again"


async def test_the_end_of_a_server_s_loop_hands_over_what_runs_on_it(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmstream.engine._LEAVING", PATIENCE)
    called: list[ProviderRequest] = []

    async def silent(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        called.append(request)
        await asyncio.Event().wait()
        yield ""

    async def serve() -> Sent:
        sent = await asked(get_engine())
        await until(lambda: called)
        return sent

    with site(silent, LEASE=600.0):
        sent = await asyncio.to_thread(asyncio.run, serve())
        assert (await run_db(fresh, sent)).status == "queued"
