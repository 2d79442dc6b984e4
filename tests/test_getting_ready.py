"""A provider gets ready before the first prompt: once, where generations run, and without harm when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncRequestFactory, RequestFactory

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.exceptions import ProviderUnavailable
from llmstream.models import Conversation
from llmstream.providers import Finish, Provider, ProviderPart, ProviderRequest
from llmstream.providers.registry import get_provider
from llmstream.serving import expect_prompt
from tests.http.client import Call, conversation_path, own, signed_in
from tests.http.streaming import opening
from tests.support import ask_in, clean_engine, ended, site, until, within
from tests.test_turns import ELSEWHERE
from tests.websocket.visitors import visit

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

FAILURES = {"unavailable": ProviderUnavailable(), "broken": RuntimeError("a secret")}


class Athlete(Provider):
    """Counts how often it got ready, and fails to if it is told to."""

    def __init__(self, failure: str = "") -> None:
        self.prepared = 0
        self.ready = asyncio.Event()
        self._failure = failure

    async def prepare(self) -> None:
        """Count, and fail if need be."""
        self.prepared += 1
        self.ready.set()
        if self._failure:
            raise FAILURES[self._failure]

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Answer."""
        yield "Go"
        yield Finish("stop")


def athletic(**options: Any) -> dict[str, Any]:
    """Return a model entry."""
    return {"PROVIDER": "tests.test_getting_ready.Athlete", "OPTIONS": options}


def athlete(key: str = "default") -> Athlete:
    """Return the provider of a model entry."""
    found = get_provider(key)
    assert isinstance(found, Athlete)
    return found


@asynccontextmanager
async def stream(engine: Engine, found: Conversation) -> AsyncGenerator[Call, None]:
    """Keep an event stream open that has begun to follow its conversation."""
    client, _ = await run_db(signed_in)
    call = Call(client, conversation_path(found, "events/"))
    async with opening(call):
        await until(lambda: (topic := engine.hub.topics.get(found.pk)) and topic.head is not None)
        yield call


@asynccontextmanager
async def room(engine: Engine, found: Conversation) -> AsyncGenerator[None, None]:
    """Keep a room open that has begun to follow its conversation."""
    async with visit("ann") as visitor:
        assert (await visitor.ask("join", room=found.public_id))["type"] == "joined"
        await until(lambda: (topic := engine.hub.topics.get(found.pk)) and topic.head is not None)
        yield


def opened(kind: str, engine: Engine, found: Conversation) -> AbstractAsyncContextManager[Any]:
    """Open a stream or a room."""
    return stream(engine, found) if kind == "stream" else room(engine, found)


@pytest.mark.parametrize("kind", ["stream", "room"])
async def test_the_first_reader_has_the_default_model_get_ready(running: Engine, kind: str) -> None:
    with site(models={"other": athletic(), "default": athletic()}, DEFAULT_MODEL="default"):
        first, second = [await run_db(own) for _ in range(2)]
        async with opened(kind, running, first):
            await within(athlete().ready.wait())
        for found in (first, second):
            async with opened(kind, running, found):
                sent = await ask_in(running, found)
                assert (await ended(sent.generation)).message.text == "Go"
        assert (athlete().prepared, athlete("other").prepared) == (1, 0)


async def test_nothing_gets_ready_where_nobody_reads(running: Engine) -> None:
    with site(models={"default": athletic()}):
        sent = await ask_in(running, await run_db(own))
        assert (await ended(sent.generation)).status == "completed"
        assert athlete().prepared == 0


@pytest.mark.parametrize("factory", [AsyncRequestFactory, RequestFactory])
async def test_a_page_without_a_stream_can_say_that_a_prompt_is_near(running: Engine, factory: type[Any]) -> None:
    with site(models={"default": athletic()}):
        for _ in range(2):
            await sync_to_async(expect_prompt)(factory().get("/"))
        await until(lambda: athlete().prepared)
        async with stream(running, await run_db(own)):
            # WSGI has an engine of its own.
            assert athlete().prepared == (1 if factory is AsyncRequestFactory else 2)


async def test_where_prompts_are_handed_off_only_a_worker_gets_ready(transactional_db: None) -> None:
    with site(models={"default": athletic()}, **ELSEWHERE):
        async with clean_engine() as engine, stream(engine, await run_db(own)):
            assert athlete().prepared == 0
            engine.turns.work()
            await within(athlete().ready.wait())
            engine.turns.work()
            async with stream(engine, await run_db(own)):
                assert athlete().prepared == 1


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_is_logged_once_and_costs_nothing(
    running: Engine, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    with site(models={"default": athletic(failure=failure)}):
        found = await run_db(own)
        async with stream(running, found) as call, stream(running, await run_db(own)):
            await within(athlete().ready.wait())
            sent = await ask_in(running, found)
            assert (await ended(sent.generation)).status == "completed"
            await until(lambda: b"message-end" in call.body)
    logged = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in logged] == ["llmstream.providers"]
    assert "default is not ready" in logged[0].getMessage()
    assert bool(logged[0].exc_info) == (failure == "broken")


async def test_a_provider_that_cannot_be_built_costs_a_stream_nothing(
    running: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with site(models={"default": athletic(unknown=1)}):
        async with stream(running, await run_db(own)) as call:
            await until(lambda: caplog.records)
            assert b"snapshot" in call.body
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == ["llmstream.providers"]


async def test_without_models_there_is_nothing_to_get_ready(running: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with site(models={}):
        async with stream(running, await run_db(own)) as call:
            await until(lambda: b"snapshot" in call.body)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
