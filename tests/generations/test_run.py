"""A generation at work: every way in which a model can behave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.providers.base import Finish, ProviderRequest, ReasoningDelta, RefusalDelta, Usage
from tests.support import Upstream, asked, check_log, ended, model, site

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


async def test_stall_after_the_first_token_is_cut_by_the_token_timeout(running: Engine) -> None:
    upstream = Upstream()
    upstream.say("first")
    models = {"default": model(upstream, FIRST_TOKEN_TIMEOUT=30.0, TOKEN_TIMEOUT=0.2)}
    with site(models=models):
        sent = await asked(running)
        generation = await ended(sent.generation)
    assert (generation.status, generation.error_code) == ("failed", "provider_timeout")
    assert generation.message.text == "first"


async def test_cancellation_inside_the_provider_fails_the_generation(running: Engine) -> None:
    async def cancelled(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        yield "some"
        raise asyncio.CancelledError

    with site(cancelled):
        generation = await ended((await asked(running)).generation)
    assert (generation.status, generation.error_code) == ("failed", "provider_error")


@pytest.mark.parametrize("kind", [str, ReasoningDelta, RefusalDelta])
async def test_an_answer_of_any_kind_is_ended_at_the_limit(running: Engine, kind: Any) -> None:
    async def endless(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        while True:
            yield kind("x" * 10)
            await asyncio.sleep(0)

    with site(endless, MAX_ANSWER_CHARS=1_000):
        generation = await ended((await asked(running)).generation)
    assert (generation.status, generation.finish_reason) == ("completed", "length")


@pytest.mark.parametrize(
    "part",
    [Usage(2**70, 1), Usage(1, 2**63), Usage(-1, 1), Usage(None, 1), Finish("\ud800"), Finish("a\0b"), Finish(5)],  # type: ignore[arg-type]
    ids=str,
)
async def test_garbage_figures_fail_the_generation_at_once(running: Engine, part: Any) -> None:
    upstream = Upstream()
    upstream.say("text", part, Finish("stop"), None)
    with site(upstream):
        generation = await ended((await asked(running)).generation)
    assert generation.status in ("failed", "completed")
    assert generation.message.text == "text"
    await run_db(check_log, generation.conversation_id)
