"""Races: a stop against the end, a prompt against its repetition, an owner against its successor."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from django.db import connection

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.endings import stop
from llmstream.generations.prompts import Prompt, Sent, send
from llmstream.log.group import commit
from llmstream.models import Generation, Message, UsageRecord
from llmstream.providers.base import Finish, ProviderRequest, Usage
from tests.log.test_group import write
from tests.support import (
    PATIENCE,
    Upstream,
    ask,
    asked,
    check_log,
    conversation,
    ended,
    site,
    stored,
    text_of,
    types,
    within,
)

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def at_once(work: Callable[[], Any], count: int = 20) -> list[Any]:
    """Do the same on threads of their own at the same time; return what came out, errors included."""
    outcomes: list[Any] = []
    go = threading.Barrier(count)

    def run() -> None:
        try:
            go.wait(PATIENCE)
            outcomes.append(work())
        except Exception as error:
            outcomes.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == count
    return outcomes


async def chatty(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Say as many words as the prompt tells, at the pace it tells."""
    words, pace = request.messages[-1].content.split()
    for number in range(int(words)):
        yield f"\u00fc{number} "
        await asyncio.sleep(float(pace))
    yield Usage(1, int(words))
    yield Finish("stop")


def check_race(sent: Sent) -> str:
    """Check what must hold however a race went; return how the generation ended."""
    check_log(sent.conversation)
    generation = Generation.objects.get(pk=sent.generation.pk)
    assert UsageRecord.objects.filter(generation=generation).count() == 1
    assert not Message.objects.filter(conversation=sent.conversation, status="running").exists()
    return generation.status


@pytest.mark.parametrize("batch", range(8))
async def test_a_stop_against_the_end_has_one_winner(running: Engine, batch: int) -> None:
    chance = random.Random(batch)

    async def race(number: int) -> tuple[str, str]:
        words, pace = chance.choice([0, 1, 5, 20]), chance.choice([0, 0.0005, 0.003])
        # The first is stopped before it has said all, the second when it has ended: both winners are there for sure.
        late = {0: 0.0, 1: None}.get(number, chance.uniform(0, 0.06))
        sent = await asked(running, "100000 0.003" if number == 0 else f"{words} {pace}")
        if late is None:
            await ended(sent.generation)
        else:
            await asyncio.sleep(late)
        told = (await run_db(stop, sent.generation.pk)).status
        # Whoever still writes has ended or been refused when its task is gone.
        while sent.generation.pk in running.runs:
            await asyncio.sleep(0.002)
        return told, await run_db(check_race, sent)

    with site(chatty):
        outcomes = await within(asyncio.gather(*[race(number) for number in range(25)]), 60.0)
    assert all(told == found for told, found in outcomes)
    assert {found for _, found in outcomes} == {"stopped", "completed"}


def test_a_second_stop_changes_nothing() -> None:
    sent = ask(conversation())
    commit([write(sent, "some")])
    first, events = stop(sent.generation.pk), stored(sent.conversation)
    second = stop(sent.generation.pk)
    assert (first.status, first.end_seq, first.ended_at) == (second.status, second.end_seq, second.ended_at)
    assert stored(sent.conversation) == events


def test_twenty_stops_at_once_are_one() -> None:
    sent = ask(conversation())
    commit([write(sent, "some")])
    outcomes = at_once(lambda: stop(sent.generation.pk))
    assert {(outcome.status, outcome.end_seq) for outcome in outcomes} == {("stopped", 6)}
    assert check_race(sent) == "stopped"


def test_twenty_sends_of_one_prompt_are_one() -> None:
    owner = conversation()
    outcomes = at_once(lambda: send(owner.pk, Prompt("Hi", client_id="same")))
    assert sorted(outcome.repeated for outcome in outcomes) == [False] + [True] * 19
    assert len([outcome for outcome in outcomes if outcome.claim]) == 1
    assert len({(o.message.pk, o.answer.pk, o.generation.pk, str(o.before)) for o in outcomes}) == 1
    assert types(check_log(owner)) == ["message-created", "message-created", "generation-start"]


def test_of_twenty_prompts_at_once_one_is_answered_and_the_others_are_told() -> None:
    owner = conversation()
    outcomes = at_once(lambda: send(owner.pk, Prompt("Hi")))
    sent = [outcome for outcome in outcomes if isinstance(outcome, Sent)]
    assert len(sent) == 1
    told = {error.extra["generation"]["id"] for error in outcomes if not isinstance(error, Sent)}
    assert told == {sent[0].generation.public_id}
    assert len(check_log(owner)) == 3


def succeed(generation: Generation) -> None:
    """Let another process take a generation over."""
    Generation.objects.filter(pk=generation.pk).update(fence=generation.fence + 1)


async def test_a_zombie_stores_nothing_and_hangs_up(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream, POLL_INTERVAL=60.0):
        sent = await asked(running)
        await within(upstream.called.wait())
        await run_db(succeed, sent.generation)
        upstream.say("zombie")
        await within(upstream.closed.wait())
        assert await run_db(commit, [write(sent, "owner", fence=sent.generation.fence + 1)]) == set()
    assert text_of(await run_db(check_log, sent.conversation)) == "owner"
    assert (await run_db(Generation.objects.get, pk=sent.generation.pk)).status == "running"


async def test_a_zombie_s_end_is_not_stored_either(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream, POLL_INTERVAL=60.0):
        sent = await asked(running)
        await within(upstream.called.wait())
        await run_db(succeed, sent.generation)
        upstream.finish()
        await within(upstream.closed.wait())
        while running.runs:
            await asyncio.sleep(0.002)
    assert types(await run_db(check_log, sent.conversation))[-1] == "generation-start"
    assert not await run_db(UsageRecord.objects.exists)


async def test_a_stop_closes_the_model_s_stream(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream, POLL_INTERVAL=60.0):
        sent = await asked(running)
        await within(upstream.called.wait())
        upstream.say("some")
        await run_db(stop, sent.generation.pk)
        await within(upstream.closed.wait())
    assert await run_db(check_race, sent) == "stopped"
