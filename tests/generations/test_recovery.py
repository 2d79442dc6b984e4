"""Answers whose process is gone: who goes on with them, how, and when nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction
from django.dispatch import Signal

from llmstream.database import run_db
from llmstream.generations.claims import claim_next
from llmstream.generations.endings import stop
from llmstream.generations.prompts import Sent
from llmstream.generations.recovery import sweep
from llmstream.generations.run import Run
from llmstream.log.group import commit
from llmstream.models import Conversation, Generation, LeftResponse, ToolCall, UsageRecord
from llmstream.providers.base import Finish, Usage
from llmstream.signals import generation_recovered
from tests.log.test_group import write
from tests.support import (
    PATIENCE,
    Upstream,
    ask,
    asked,
    check_log,
    clean_engine,
    conversation,
    ended,
    model,
    site,
    stored,
    stored_one,
    text_of,
    types,
    until,
    within,
)
from tests.tools.site import CANCELLED, agent, order

from .services import RESPONSE, Service, doomed_engine, fresh, lapse, served

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

QUICK: dict[str, Any] = {"POLL_INTERVAL": 0.02, "SWEEP_INTERVAL": 0.02}


async def taken_over(sent: Sent) -> Generation:
    """Let another process go on, and return the generation at its end."""
    async with clean_engine() as engine:
        engine.wake()
        generation = await ended(sent.generation)
    await run_db(check_log, sent.conversation)
    return generation


async def crash(upstream: Upstream, *parts: Any) -> Sent:
    """Let a process begin an answer, show its parts, and die."""
    async with doomed_engine() as engine:
        sent = await asked(engine)
        await within(upstream.called.wait())
        upstream.say(*parts)
        if parts:
            await stored_one(sent.conversation, "text-delta")
    return sent


async def test_an_answer_of_which_nothing_was_shown_is_asked_for_again(transactional_db: None) -> None:
    upstream = Upstream()
    recovered: list[int] = []
    with site(upstream, **QUICK), heard(generation_recovered, recovered):
        sent = await crash(upstream)
        upstream.say("whole", Usage(3, 1))
        upstream.finish()
        generation = await taken_over(sent)
    assert (generation.status, generation.message.text) == ("completed", "whole")
    assert (generation.takeovers, generation.fence, len(upstream.requests)) == (1, 2, 2)
    assert upstream.requests[0].messages == upstream.requests[1].messages
    assert recovered == [generation.pk]
    usage = await run_db(lambda: list(UsageRecord.objects.order_by("pk").values_list("estimated", "output_tokens")))
    assert usage == [(True, 0), (False, 1)]


@contextmanager
def heard(signal: Signal, found: list[int]) -> Iterator[None]:
    """Note the generations of a signal for as long as the block lasts."""

    def note(*, generation: Generation, **_: Any) -> None:
        found.append(generation.pk)

    signal.connect(note)
    try:
        yield
    finally:
        signal.disconnect(note)


@pytest.mark.parametrize(("recovery", "parts"), [(["retry"], ["half"]), (["interrupt", "retry"], []), ([], [])])
async def test_an_answer_that_cannot_go_on_is_interrupted(
    transactional_db: None, recovery: list[str], parts: list[str]
) -> None:
    upstream = Upstream()
    with site(models={"default": model(upstream, RECOVERY=recovery)}, **QUICK):
        sent = await crash(upstream, *parts)
        generation = await taken_over(sent)
    assert (generation.status, generation.message.text) == ("interrupted", "".join(parts))
    assert len(upstream.requests) == 1


async def test_a_model_may_be_handed_the_beginning_of_its_answer(transactional_db: None) -> None:
    upstream = Upstream()
    with site(models={"default": model(upstream, RECOVERY=["retry", "continue"])}, **QUICK):
        sent = await crash(upstream, "half an \n")
        upstream.say(" ", " answer")
        upstream.finish()
        generation = await taken_over(sent)
    assert generation.message.text == "half an \nanswer"
    (first, again) = upstream.requests
    assert [(turn.role, turn.content) for turn in again.messages] == [
        *((turn.role, turn.content) for turn in first.messages),
        ("assistant", "half an"),
    ]
    assert types(await run_db(stored, sent.conversation)).count("generation-start") == 1


async def test_a_response_that_goes_on_is_taken_up_where_the_log_ends(transactional_db: None) -> None:
    service = Service()
    with site(models={"default": served(service)}, **QUICK):
        async with doomed_engine() as engine:
            sent = await asked(engine)
            service.say("one ", "two ")
            await stored_one(sent.conversation, "text-delta")
        before = await run_db(fresh, sent)
        service.say("three ", "four", Usage(5, 4), Finish("stop"))
        generation = await taken_over(sent)
    assert (generation.status, generation.message.text) == ("completed", "one two three four")
    assert (len(service.requests), service.resumed) == (1, [int(before.provider_cursor)])
    assert (generation.provider_response_id, generation.provider_cursor, service.cancelled) == (RESPONSE, "", [])
    assert await run_db(lambda: list(UsageRecord.objects.values_list("output_tokens", "estimated"))) == [(4, False)]


async def test_a_crash_between_the_last_words_and_the_end_loses_nothing(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = asyncio.Event()

    async def hang(*_: Any) -> bool:
        finished.set()
        return await asyncio.Event().wait()

    service = Service()
    with site(models={"default": served(service)}, **QUICK):
        with monkeypatch.context() as patch:
            patch.setattr(Run, "_finish", hang)
            async with doomed_engine() as engine:
                sent = await asked(engine)
                service.say("all", Usage(5, 1), Finish("stop"))
                await within(finished.wait())
                await stored_one(sent.conversation, "text-delta")
        generation = await taken_over(sent)
    assert (generation.status, generation.message.text, len(service.requests)) == ("completed", "all", 1)
    assert service.resumed == [2]


async def test_a_response_is_known_before_it_has_said_anything(transactional_db: None) -> None:
    service = Service()
    with site(models={"default": served(service)}, **QUICK):
        async with doomed_engine() as engine:
            sent = await asked(engine)
            async with asyncio.timeout(PATIENCE):
                while not (await run_db(fresh, sent)).provider_cursor:
                    await asyncio.sleep(0.005)
        service.say("late", Finish("stop"))
        assert (await taken_over(sent)).message.text == "late"
    assert len(service.requests) == 1


async def test_what_is_stored_and_its_cursor_agree_at_every_moment(transactional_db: None) -> None:
    service = Service()
    with site(models={"default": served(service)}, **QUICK):
        async with clean_engine() as engine:
            sent = await asked(engine)
            for number in range(40):
                service.say(f"{number},")
                text, cursor = await run_db(text_and_cursor, sent)
                assert text == "".join(f"{token}," for token in range(cursor))
            service.say(Finish("stop"))
            await ended(sent.generation)


def text_and_cursor(sent: Sent) -> tuple[str, int]:
    """Return what one and the same state of the database says."""
    with transaction.atomic():
        list(Conversation.objects.select_for_update().filter(pk=sent.conversation.pk))
        return text_of(stored(sent.conversation)), int(fresh(sent).provider_cursor or 0)


@pytest.mark.parametrize(
    ("recovery", "outcome"),
    [(["retry"], ("interrupted", "one ")), (["continue"], ("completed", "one more"))],
)
async def test_a_response_that_its_service_has_no_longer_falls_to_the_next_policy(
    transactional_db: None, recovery: list[str], outcome: tuple[str, str]
) -> None:
    service = Service()
    with site(models={"default": served(service, RECOVERY=recovery)}, **QUICK):
        async with doomed_engine() as engine:
            sent = await asked(engine)
            service.say("one ")
            await stored_one(sent.conversation, "text-delta")
        service.kept = False
        service.events[1:] = ["more", Finish("stop")]
        generation = await taken_over(sent)
    assert (generation.status, generation.message.text) == outcome
    assert len(service.requests) == (2 if recovery == ["continue"] else 1)


async def test_a_response_that_cannot_be_read_again_is_cancelled_later(transactional_db: None) -> None:
    service = Service()
    with site(models={"default": served(service)}, **QUICK):
        async with doomed_engine() as engine:
            sent = await asked(engine)
            service.say("one ")
            await stored_one(sent.conversation, "text-delta")
        service.reachable = False
        async with clean_engine() as engine:
            engine.wake()
            generation = await ended(sent.generation)
            await until(lambda: service.cancelled == [RESPONSE])
    assert (generation.status, generation.error_code) == ("failed", "provider_unavailable")


async def test_a_stop_cancels_a_response_that_nobody_reads(transactional_db: None) -> None:
    service = Service()
    with site(models={"default": served(service)}, LEASE=600.0):
        async with doomed_engine() as engine:
            sent = await asked(engine)
            service.say("one ")
            await stored_one(sent.conversation, "text-delta")
        assert service.cancelled == []
        assert (await run_db(stop, sent.generation.pk)).status == "stopped"
        assert await run_db(LeftResponse.objects.count) == 1
        async with clean_engine() as engine:
            engine.wake()
            await until(lambda: service.cancelled == [RESPONSE])
            async with asyncio.timeout(PATIENCE):
                while await run_db(LeftResponse.objects.exists):
                    await asyncio.sleep(0.005)


async def test_a_stop_cancels_a_response_that_is_read_here(transactional_db: None) -> None:
    service = Service()
    with site(models={"default": served(service)}):
        async with clean_engine() as engine:
            sent = await asked(engine)
            service.say("one ")
            await stored_one(sent.conversation, "text-delta")
            await run_db(stop, sent.generation.pk)
            await until(lambda: service.cancelled)
            await until(lambda: not engine.runs)
    assert set(service.cancelled) == {RESPONSE}


async def test_an_owner_that_was_fenced_off_leaves_the_response_to_the_next(transactional_db: None) -> None:
    service = Service()
    with site(models={"default": served(service)}, LEASE=600.0, POLL_INTERVAL=600.0):
        async with clean_engine() as engine:
            sent = await asked(engine)
            service.say("one ")
            await stored_one(sent.conversation, "text-delta")
            # The look around that an engine has at its start would keep the lease, or take the answer up.
            await until(lambda: engine._looking and engine._looking.done())
            await run_db(lapse, sent.generation.pk)
            assert (await run_db(sweep)).queued == [sent.conversation.pk]
            service.say("two")
            await until(lambda: not engine.runs)
            assert await run_db(lambda: text_of(stored(sent.conversation))) == "one "
            engine.await_turn(sent.conversation.pk)
            service.say(Finish("stop"))
            assert (await ended(sent.generation)).message.text == "one two"
    assert (service.detached, service.cancelled) == ({RESPONSE}, [])


def test_a_takeover_is_fenced_and_counted() -> None:
    with site(models={"default": model(Upstream.__call__)}, MAX_TAKEOVERS=2):  # type: ignore[arg-type]
        sent = ask(conversation())
        for takeover in (1, 2):
            lapse(sent.generation.pk)
            assert sweep().queued == [sent.conversation.pk]
            claimed, _ = claim_next(sent.conversation.pk)
            assert claimed is not None
            assert (claimed.generation, claimed.fence) == (sent.generation.pk, 1 + takeover)
            assert commit([write(sent, "zombie", fence=takeover)]) == {(sent.generation.pk, takeover)}
        lapse(sent.generation.pk)
        found = sweep()
    assert (found.queued, found.ended) == ([], [sent.conversation.pk])
    assert fresh(sent).status == "interrupted"
    check_log(sent.conversation)


async def test_a_tool_that_was_at_work_is_not_run_again_and_its_model_is_told(transactional_db: None) -> None:
    with site(models={"default": agent("hang_on", "add")}, **QUICK):
        async with doomed_engine() as engine:
            sent = await asked(engine, order([("add", {"a": 1, "b": 2}), ("hang_on", {})]))
            await stored_one(sent.conversation, "tool-progress")
            await stored_one(sent.conversation, "tool-result")
        generation = await taken_over(sent)
    tools = [part for part in generation.message.parts if part["type"] == "tool"]
    assert [(part["tool"], part.get("output"), part.get("error", {}).get("code")) for part in tools] == [
        ("add", 3, None),
        ("hang_on", None, "tool_interrupted"),
    ]
    assert (generation.status, generation.message.parts[-1]["text"]) == ("completed", "Step 2. Done.")
    rows = await run_db(lambda: list(ToolCall.objects.order_by("pk").values_list("status", "error")))
    assert rows == [("done", ""), ("failed", "tool_interrupted")]
    assert CANCELLED.count(generation.public_id) == 1
    assert types(await run_db(stored, sent.conversation)).count("tool-call") == 2
