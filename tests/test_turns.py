"""Which process claims a prompt, and what the others do about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, ClassVar

import pytest

from llmstream import turns
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations import claims
from llmstream.generations.endings import stop
from llmstream.generations.prompts import Prompt, Sent, send
from llmstream.models import Generation
from llmstream.providers.base import Finish, ProviderRequest
from llmstream.runners.base import Runner
from tests.support import Upstream, asked, clean_engine, conversation, ended, site, stored_one, until, within

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


class NotingRunner(Runner):
    """Hands off by taking notes."""

    here: ClassVar[bool] = False
    notes: ClassVar[list[tuple[int, bool]]] = []

    def hand_off(self, conversation: int, *, again: bool = False) -> None:
        """Note it."""
        self.notes.append((conversation, again))


ELSEWHERE: dict[str, Any] = {"RUNNER": "tests.test_turns.NotingRunner"}


@pytest.fixture(autouse=True)
def notes() -> list[tuple[int, bool]]:
    """What has been handed off in this test."""
    NotingRunner.notes.clear()
    return NotingRunner.notes


async def left(engine: Engine, content: str = "Hi", *, to: Any = None, **fields: Any) -> Sent:
    """Send a prompt as a web process does that runs nothing."""
    found = to or await run_db(conversation)
    sent = await run_db(send, found.pk, Prompt(content, **fields), run=engine.turns.reserve())
    engine.await_turn(sent.conversation.pk, ready=sent.ready)
    return sent


async def test_a_prompt_is_handed_off_and_again_until_it_is_taken_up(
    transactional_db: None, notes: list[tuple[int, bool]]
) -> None:
    with site(POLL_INTERVAL=0.02, **ELSEWHERE):
        async with clean_engine() as engine:
            sent = await left(engine)
            assert (sent.generation.status, sent.claim) == ("queued", None)
            assert notes == [(sent.conversation.pk, False)]
            await until(lambda: len(notes) > 3)
            assert set(notes[1:]) == {(sent.conversation.pk, True)}
            await run_db(stop, sent.generation.pk)
            await until(lambda: not engine.turns.queued)
            assert not engine.runs


async def test_a_prompt_behind_another_is_not_handed_off_before_its_turn(
    transactional_db: None, notes: list[tuple[int, bool]]
) -> None:
    with site(POLL_INTERVAL=0.02, **ELSEWHERE):
        async with clean_engine() as engine:
            first = await run_db(lambda: send(conversation().pk, Prompt("Hi")))
            second = await left(engine, to=first.conversation, busy="queue")
            await asyncio.sleep(0.1)
            assert notes == []
            await run_db(stop, first.generation.pk)
            await until(lambda: notes)
            assert notes[0] == (second.conversation.pk, True)


async def test_what_others_left_behind_is_handed_off_by_the_sweep(
    transactional_db: None, notes: list[tuple[int, bool]]
) -> None:
    with site(POLL_INTERVAL=0.02, SWEEP_INTERVAL=0.02, LEASE=0.1, **ELSEWHERE):
        async with clean_engine() as engine:
            sent = await run_db(lambda: send(conversation().pk, Prompt("Hi"), run=False))
            engine.wake()
            await until(lambda: (sent.conversation.pk, True) in notes)
            assert (await run_db(Generation.objects.get, pk=sent.generation.pk)).status == "queued"


async def test_a_worker_takes_up_what_is_handed_off_and_what_follows(transactional_db: None) -> None:
    with site(POLL_INTERVAL=60.0, **ELSEWHERE):
        async with clean_engine() as engine:
            engine.turns.work()
            first = await run_db(lambda: send(conversation().pk, Prompt("Hi"), run=False))
            second = await run_db(lambda: send(first.conversation.pk, Prompt("next", busy="queue"), run=False))
            engine.turns.take_up([first.conversation.pk])
            assert (await ended(first.generation)).status == "completed"
            assert (await ended(second.generation)).message.text == "next"


async def test_a_worker_that_is_full_looks_again_when_it_has_room(transactional_db: None) -> None:
    upstream = Upstream()
    with site(upstream, POLL_INTERVAL=60.0, MAX_GENERATIONS=1, **ELSEWHERE):
        async with clean_engine() as engine:
            engine.turns.work()
            sents = [await run_db(lambda: send(conversation().pk, Prompt("Hi"), run=False)) for _ in range(3)]
            engine.turns.take_up([sents[0].conversation.pk])
            await within(upstream.called.wait())
            for sent in reversed(sents[1:]):
                engine.turns.take_up([sent.conversation.pk])
            for number, sent in enumerate(sents, 1):
                await until(partial(asked_for, upstream, number))
                assert len(engine.runs) == 1
                upstream.finish()
                assert (await ended(sent.generation)).status == "completed", "oldest first"


async def test_a_full_process_leaves_its_prompts_queued_until_it_has_room(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream, POLL_INTERVAL=60.0, MAX_GENERATIONS=2):
        first, second = await asked(running), await asked(running)
        assert first.claim
        assert second.claim
        third = await left(running)
        assert third.claim is None
        upstream.finish()
        await until(lambda: len(upstream.requests) == 3)
        upstream.finish()
        upstream.finish()
        for sent in (first, second, third):
            assert (await ended(sent.generation)).status == "completed"
    await until(lambda: not running.runs)


async def test_no_more_than_the_bound_however_many_ask_at_once(running: Engine) -> None:
    at_work, most, gate = 0, 0, asyncio.Event()

    async def counting(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await gate.wait()
        at_work -= 1
        yield Finish("stop")

    with site(counting, POLL_INTERVAL=60.0, MAX_GENERATIONS=3):
        sents = await asyncio.gather(*(left_or_started(running) for _ in range(12)))
        await until(lambda: at_work == 3)
        gate.set()
        for sent in sents:
            assert (await ended(sent.generation)).status == "completed"
    assert most == 3


def asked_for(upstream: Upstream, count: int) -> bool:
    """Whether so many requests have come to the model."""
    return len(upstream.requests) == count


async def left_or_started(engine: Engine) -> Sent:
    """Send a prompt as a web process does that runs generations."""
    found = await run_db(conversation)
    place = engine.turns.reserve()
    sent = await run_db(send, found.pk, Prompt("Hi"), run=place)
    if sent.claim:
        engine.start_reserved(sent.claim)
    else:
        engine.await_turn(found.pk, ready=sent.ready)
    return sent


async def test_a_process_that_ends_in_order_interrupts_its_generations(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream, LEASE=600.0):
        sent = await asked(running)
        await within(upstream.called.wait())
        upstream.say("half")
        await stored_one(sent.conversation, "text-delta")
        await running.leave()
        await within(upstream.closed.wait())
        assert (await ended(sent.generation)).status == "interrupted"
        assert not running.turns.reserve()


async def test_a_prompt_that_cannot_be_claimed_holds_up_no_other(
    running: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(MAX_GENERATIONS=1, POLL_INTERVAL=0.02):
        running.turns.reserve()
        first, second = await left(running), await left(running)
        await asyncio.sleep(0)  # both have found no room

        def claim_next(conversation: int) -> Any:
            if conversation == first.conversation.pk:
                raise TypeError
            return claims.claim_next(conversation)

        monkeypatch.setattr(turns, "claim_next", claim_next)
        running.turns.release()
        assert (await ended(second.generation)).status == "completed"
