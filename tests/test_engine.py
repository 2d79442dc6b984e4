"""The engine: what one event loop looks after, and for how long."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import threading
import weakref
from collections.abc import AsyncGenerator, Collection
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from llmstream import engine as engine_module
from llmstream import turns as turns_module
from llmstream.access import Access
from llmstream.database import run_db
from llmstream.engine import Engine, background_engine, get_engine
from llmstream.generations import patience
from llmstream.generations.endings import stop
from llmstream.generations.queries import active_generations
from llmstream.generations.recovery import abandoned, sweep
from llmstream.log.transaction import events_committed
from llmstream.models import Conversation, Event, Generation
from llmstream.permissions import Requester
from llmstream.providers.base import Finish, ProviderRequest
from llmstream.signals import generation_finished
from tests.support import (
    PATIENCE,
    Upstream,
    ask,
    ask_in,
    asked,
    check_log,
    close_engine,
    conversation,
    echo,
    ended,
    model,
    site,
    until,
    within,
)

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("REQUEST", default="none")


def lapse(generation: Generation) -> None:
    """Let a generation's lease lapse, as a long silence of its process does."""
    past = timezone.now() - timedelta(seconds=60)
    Generation.objects.filter(pk=generation.pk).update(lease_expires_at=past)


async def test_there_is_one_engine_a_loop(running: Engine) -> None:
    assert get_engine() is running


def test_a_loop_that_is_over_leaves_nothing_behind() -> None:
    async def use() -> weakref.ref[Engine]:
        return weakref.ref(get_engine())

    left = [asyncio.run(use()) for _ in range(3)]
    asyncio.run(use())
    gc.collect()
    assert [engine() for engine in left] == [None] * 3


async def test_detached_work_runs_in_a_clean_context(running: Engine) -> None:
    seen: list[str] = []

    async def curious(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        seen.append(REQUEST.get())
        yield Finish("stop")

    with site(curious, POLL_INTERVAL=0.01):
        REQUEST.set("a request")
        await ended((await asked(running)).generation)
    assert seen == ["none"]


async def test_the_timer_keeps_no_request_s_context(running: Engine) -> None:
    seen: list[str] = []

    class Stream:
        access = Access(user=None, anonymous_id="", session_key="", fingerprint=0)

        def tick(self, now: float) -> None:
            seen.append(REQUEST.get())

        def shown(self) -> tuple[int, ...]:
            return ()

        def review(self, requester: Requester | None, readable: Collection[int]) -> None:
            seen.append(REQUEST.get())

    with site(POLL_INTERVAL=0.01):
        REQUEST.set("a request")
        running.streams.add(stream := Stream())
        running.wake()
        await until(lambda: seen)
        running.streams.discard(stream)
    assert set(seen) == {"none"}


async def test_a_process_that_slept_keeps_what_it_still_runs(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream):
        sent = await asked(running)
        await within(upstream.called.wait())
        await run_db(lapse, sent.generation)  # before the timer's first tick, which keeps leases and sweeps
        renewed = Generation.objects.filter(pk=sent.generation.pk, lease_expires_at__gt=timezone.now())
        async with asyncio.timeout(PATIENCE):
            while not await run_db(renewed.exists):
                await asyncio.sleep(0.01)
        upstream.say("awake")
        upstream.finish()
        generation = await ended(sent.generation)
    assert (generation.status, generation.message.text) == ("completed", "awake")


async def test_a_run_that_somebody_else_ended_is_cut(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream, POLL_INTERVAL=0.02):
        sent = await asked(running)
        await within(upstream.called.wait())
        message = sent.answer
        await run_db(
            Generation.objects.filter(pk=sent.generation.pk).update, status="running", fence=sent.generation.fence + 1
        )
        await within(upstream.closed.wait())
    assert message.text == ""
    await until(lambda: not running.runs)


async def test_a_run_that_was_stopped_keeps_nothing(running: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "CLOSING", 600.0)  # A timer of so long must not keep it.
    upstream = Upstream()
    with site(upstream):
        sent = await asked(running)
        await within(upstream.called.wait())
        run = weakref.ref(running.runs[sent.generation.pk])
        await run_db(stop, sent.generation.pk)
        await within(upstream.closed.wait())

        def gone() -> bool:
            gc.collect()
            return run() is None

        await until(gone)


async def test_leases_are_renewed_while_the_model_is_alive(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream, LEASE=0.3, POLL_INTERVAL=0.03, SWEEP_INTERVAL=0.03):
        sent = await asked(running)
        await within(upstream.called.wait())
        await asyncio.sleep(0.8)
        upstream.finish()
        assert (await ended(sent.generation)).status == "completed"


async def test_a_queued_prompt_starts_when_the_one_before_it_ends(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream):
        first = await asked(running)
        second = await ask_in(running, first.conversation, "next", busy="queue")
        assert second.generation.status == "queued"
        await within(upstream.called.wait())
        upstream.finish()
        assert (await ended(first.generation)).status == "completed"
        await until(lambda: len(upstream.requests) == 2)
        upstream.finish()
        assert (await ended(second.generation)).status == "completed"
    assert upstream.requests[1].messages[-1].content == "next"
    assert not running.turns.queued


async def test_a_prompt_queued_in_another_process_starts_without_a_sweep(running: Engine) -> None:
    upstream = Upstream()
    other = Engine(running.loop)
    events_committed.disconnect(other._committed)
    with site(upstream, SWEEP_INTERVAL=60.0, POLL_INTERVAL=0.05):
        first = await asked(running)
        await within(upstream.called.wait())
        second = await ask_in(other, first.conversation, "next", busy="queue")
        await until(lambda: not other._tasks)  # it has tried in vain
        upstream.finish()
        await until(lambda: len(upstream.requests) == 2)
        upstream.finish()
        assert (await ended(second.generation)).status == "completed"
    await close_engine(other)


async def test_a_prompt_that_nobody_picked_up_is_found_by_the_sweep(running: Engine) -> None:
    with site(LEASE=0.2, POLL_INTERVAL=0.02, SWEEP_INTERVAL=0.02):
        first = await run_db(lambda: ask(conversation()))
        second = await run_db(ask, first.conversation, "next", busy="queue")
        await run_db(stop, first.generation.pk)
        running.wake()
        assert (await ended(second.generation)).status == "completed"


async def test_the_database_away_for_a_while_loses_nothing(running: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Upstream()
    with site(upstream, POLL_INTERVAL=0.02, SWEEP_INTERVAL=0.02):
        sent = await asked(running)
        await within(upstream.called.wait())
        asks = 0

        def away(*_: Any) -> Any:
            nonlocal asks
            asks += 1
            raise OperationalError

        with monkeypatch.context() as patched:
            patched.setattr(engine_module, "still_owned", away)
            patched.setattr(turns_module, "sweep", away)
            await until(lambda: asks > 5)
        upstream.say("back")
        upstream.finish()
        assert (await ended(sent.generation)).message.text == "back"


async def test_slow_receivers_hold_up_nobody_else_s_answer(running: Engine) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(**_: Any) -> None:
        entered.set()
        go_on.wait(3 * PATIENCE)

    upstream = Upstream()
    generation_finished.connect(slow, sender=Generation)
    try:
        with site(models={"default": model(echo), "other": model(upstream)}):
            other = await asked(running, model="other")
            await within(upstream.called.wait())
            await asked(running)
            assert await asyncio.to_thread(entered.wait, PATIENCE)
            upstream.say("token")
            async with asyncio.timeout(PATIENCE):
                while await run_db(lambda: Conversation.objects.get(pk=other.conversation.pk).head) < 4:
                    await asyncio.sleep(0.01)
            go_on.set()
    finally:
        go_on.set()
        generation_finished.disconnect(slow, sender=Generation)


async def test_one_poisonous_generation_does_not_keep_the_sweep_from_the_others(running: Engine) -> None:
    healthy, poisoned = await run_db(lambda: ask(conversation())), await run_db(lambda: ask(conversation()))
    await run_db(
        Event.objects.create,
        conversation=poisoned.conversation,
        seq=4,
        generation=poisoned.generation,
        type="text-delta",
        data={"type": "text-delta"},
        created_at=timezone.now(),
    )
    await run_db(lapse, poisoned.generation)
    await run_db(lapse, healthy.generation)
    with site(POLL_INTERVAL=0.02, SWEEP_INTERVAL=0.02):
        running.wake()
        assert (await ended(healthy.generation)).status == "completed"


async def test_owners_go_first_when_the_database_is_back(running: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = await run_db(lambda: ask(conversation()))
    await run_db(lapse, sent.generation)
    looks = itertools.count()

    def away_at_first() -> set[int]:
        if next(looks) == 0:
            raise OperationalError
        return abandoned()

    monkeypatch.setattr("llmstream.turns.abandoned", away_at_first)
    with site(POLL_INTERVAL=0.01, SWEEP_INTERVAL=0.01, LEASE=3_600.0):
        running.wake()
        await until(lambda: next(looks) > 10)
    assert await run_db(lambda: Generation.objects.get(pk=sent.generation.pk).status) == "running"


def test_a_sweep_that_waited_for_a_lock_lets_the_owner_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    generation = ask(conversation()).generation
    lapse(generation)
    clock = iter([0.0, 100.0, 200.0, 200.1])
    monkeypatch.setattr("llmstream.generations.recovery.monotonic", lambda: next(clock))
    sweep()
    generation.refresh_from_db()
    assert generation.status == "running"
    sweep()
    generation.refresh_from_db()
    assert generation.status != "running"


async def test_a_deleted_conversation_leaves_nothing_running(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream, POLL_INTERVAL=0.02):
        sent = await asked(running)
        await within(upstream.called.wait())
        await run_db(Conversation.objects.filter(pk=sent.conversation.pk).delete)
        await within(upstream.closed.wait())
        await until(lambda: not running.runs)
    assert not running.turns.queued


async def test_the_background_engine_has_a_loop_of_its_own() -> None:
    assert background_engine() is background_engine()
    assert background_engine().loop is not asyncio.get_running_loop()


async def test_every_run_of_many_ends_and_the_engine_is_empty(running: Engine) -> None:
    async def chatty(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        for number in range(20):
            yield f"{number} "
            await asyncio.sleep(0)
        yield Finish("stop")

    with site(chatty):
        sents = [await asked(running) for _ in range(20)]
        for sent in sents:
            generation = await ended(sent.generation)
            assert generation.message.text == "".join(f"{number} " for number in range(20))
            await run_db(check_log, sent.conversation)
            assert not await run_db(active_generations, sent.conversation)
    await until(lambda: not running.runs)
    assert not running.turns.queued
