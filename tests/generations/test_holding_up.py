"""What cannot be claimed, closed or contained: it fails by itself and holds nothing else up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from llmstream import turns
from llmstream.database import run_db
from llmstream.generations import claims, patience
from llmstream.generations.prompts import Prompt, send
from llmstream.models import Generation
from llmstream.providers.base import ProviderRequest
from tests.support import (
    PATIENCE,
    asked,
    clean_engine,
    conversation,
    ended,
    model,
    site,
    until,
)

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


async def test_a_prompt_that_can_never_be_claimed_ends_as_failed(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def refuse(conversation: int) -> Any:
        tries.append(conversation)
        raise TypeError

    monkeypatch.setattr(turns, "claim_next", refuse)
    with site(POLL_INTERVAL=0.01):
        async with clean_engine() as engine:
            sent = await run_db(lambda: send(conversation().pk, Prompt("Hi"), run=False))
            engine.await_turn(sent.conversation.pk)
            generation = await ended(sent.generation)
    assert (generation.status, generation.error_code) == ("failed", "error")
    assert len(tries) in (5, 6), "two looks may coincide, not more"


async def test_two_that_give_a_prompt_up_at_once_end_that_one_alone(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    together = threading.Barrier(2)

    def refuse_first(conversation: int) -> Any:
        if Generation.objects.get(pk=first.generation.pk).status != "queued":
            return claims.claim_next(conversation)
        tries.append(conversation)
        if len(tries) > 4:
            together.wait(PATIENCE)
        raise TypeError

    monkeypatch.setattr(turns, "claim_next", refuse_first)
    with site(POLL_INTERVAL=0.01):
        async with clean_engine() as engine:
            first = await run_db(lambda: send(conversation().pk, Prompt("Hi"), run=False))
            engine.await_turn(first.conversation.pk)
            await until(lambda: len(tries) == 5)
            behind = Prompt("And?", busy="queue")
            second = await run_db(lambda: send(first.conversation.pk, behind, run=False))
            engine.await_turn(first.conversation.pk)
            assert (await ended(first.generation)).status == "failed"
            assert (await ended(second.generation)).status == "completed"


async def test_a_provider_that_does_not_close_its_stream_holds_nothing_up(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "CLOSING", 0.3)  # longer than the model may be silent

    async def clinging(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        try:
            while True:
                yield "x" * 10
                if request.messages[-1].content == "silent":
                    await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()

    with site(models={"default": model(clinging, TOKEN_TIMEOUT=0.1)}, MAX_ANSWER_CHARS=100):
        async with clean_engine() as engine:
            cut = await ended((await asked(engine, "silent")).generation)
            long = await ended((await asked(engine, "long")).generation)
    assert (cut.status, cut.error_code) == ("failed", "provider_timeout")
    assert (long.status, long.finish_reason) == ("completed", "length")


@pytest.mark.parametrize("fault", [SystemExit, KeyboardInterrupt, type("Panic", (BaseException,), {})])
async def test_a_provider_that_tries_to_end_the_process_fails_its_answer(
    transactional_db: None, fault: Callable[[], BaseException]
) -> None:
    async def leaving(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        yield "some"
        raise fault()

    with site(leaving):
        async with clean_engine() as engine:
            generation = await ended((await asked(engine)).generation)
    assert (generation.status, generation.error_code, generation.message.text) == ("failed", "provider_error", "some")
