"""Steering: what people say to a generation at work reaches its model at the next call, with a receipt."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from llmstream import commands
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.exceptions import (
    GenerationNotSteerable,
    IdempotencyConflict,
    InvalidRequest,
    PermissionDenied,
    TooManySteers,
)
from llmstream.fields import Fields
from llmstream.generations.approvals import decide
from llmstream.generations.endings import stop
from llmstream.generations.steering import Steered, steer
from llmstream.models import Conversation, Generation
from llmstream.permissions import Requester
from llmstream.providers.base import Finish, ProviderRequest
from llmstream.snapshot import state
from tests.support import Upstream, ask, asked, check_log, ended, site, types, user, within
from tests.tools.site import agent, order
from tests.tools.test_approvals import join, waiting
from tests.tools.test_loop import Recorded, ledger

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


async def test_a_message_reaches_the_model_at_its_next_call(running: Engine) -> None:
    recorded = Recorded()
    with site(models={"default": agent("wipe", script=recorded)}):
        sent = await waiting(running, order([("wipe", {"what": "a"})]))
        ann = await run_db(user)
        steered = await run_db(steer, sent.generation.pk, "Be quick", ann)
        now = await run_db(state, await run_db(Conversation.objects.get, pk=sent.conversation.pk))
        author = {"id": str(ann.pk), "name": "ann"}
        pending = {"steer": steered.steer, "content": "Be quick", "author": author}
        assert now["generations"][0]["steers"] == [pending]
        await run_db(decide, sent.generation.pk, "call_0_0", "approve", None)
        generation = await ended(sent.generation)
        events = await run_db(check_log, sent.conversation)
    assert [turn.role for turn in recorded.requests[1].messages] == ["user", "assistant", "tool", "user"]
    assert recorded.requests[1].messages[3].content == "Be quick"
    assert generation.message.parts[2] == {"type": "steer", **pending}
    kinds = types(events)
    assert kinds.index("steer") < kinds.index("steer-accepted") < kinds.index("message-end")
    assert next(event["part"] for event in events if event["type"] == "steer-accepted") == 2


async def test_a_model_that_has_just_finished_is_asked_once_more(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream):
        sent = await asked(running)
        await within(upstream.called.wait())
        upstream.say("First. ")
        await run_db(steer, sent.generation.pk, "And then?", None)
        upstream.finish()
        await within(upstream.closed.wait())
        upstream.say("Second.")
        upstream.finish()
        generation = await ended(sent.generation)
        events = await run_db(check_log, sent.conversation)
        assert len(await run_db(ledger, generation)) == 2
    assert [part["type"] for part in generation.message.parts] == ["text", "steer", "text"]
    assert generation.message.text == "First. Second."
    assert [turn.content for turn in upstream.requests[1].messages] == ["Hi", "First. ", "And then?"]
    told = [kind for kind in types(events) if kind != "steer"]
    assert told[-6:] == ["text-delta", "usage", "steer-accepted", "text-delta", "usage", "message-end"]


async def test_a_model_that_has_said_nothing_gets_the_message_too(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream):
        sent = await asked(running)
        await within(upstream.called.wait())
        await run_db(steer, sent.generation.pk, "And then?", None)
        upstream.finish()
        await within(upstream.closed.wait())
        upstream.say("Now.")
        upstream.finish()
        generation = await ended(sent.generation)
        await run_db(check_log, sent.conversation)
    assert [turn.content for turn in upstream.requests[1].messages] == ["Hi", "And then?"]
    assert [part["type"] for part in generation.message.parts] == ["steer", "text"]


async def test_a_message_for_every_call_is_taken_until_the_steps_are_up(running: Engine) -> None:
    calls: list[ProviderRequest] = []

    async def steered_on(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        calls.append(request)
        await run_db(push, request.generation)
        yield "More. "
        yield Finish("stop")

    with site(steered_on, MAX_STEPS=4):
        generation = await ended((await asked(running)).generation)
        events = await run_db(check_log, generation.conversation)
    assert (generation.status, len(calls)) == ("completed", 4)
    assert (types(events).count("steer"), types(events).count("steer-accepted")) == (4, 3)


def push(public_id: str) -> None:
    """Steer a generation by its public id."""
    steer(Generation.objects.get(public_id=public_id).pk, "Go on", None)


async def test_a_failure_ends_the_generation_whatever_people_say(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream):
        sent = await asked(running)
        await within(upstream.called.wait())
        await run_db(steer, sent.generation.pk, "Hello?", None)
        upstream.say(RuntimeError("down"))
        generation = await ended(sent.generation)
        await run_db(check_log, sent.conversation)
    assert generation.status == "failed"
    assert generation.message.parts == []


def test_what_has_not_begun_or_has_ended_cannot_be_steered() -> None:
    with site():
        first = ask(Conversation.objects.create())
        queued = ask(first.conversation, busy="queue")
        for sent in (queued, first):
            if sent is first:
                stop(first.generation.pk)
            with pytest.raises(GenerationNotSteerable):
                steer(sent.generation.pk, "Hello?", None)


def test_there_is_an_end_to_steering() -> None:
    with site(MAX_STEERS=2):
        sent = ask(Conversation.objects.create())
        assert len({steer(sent.generation.pk, "Go", None).steer for _ in range(2)}) == 2
        with pytest.raises(TooManySteers):
            steer(sent.generation.pk, "Go", None)


def test_who_may_write_may_steer_and_says_something() -> None:
    sent = ask(Conversation.objects.create())
    reader = join(sent.conversation, "reader")
    with pytest.raises(PermissionDenied):
        commands.steer(reader, sent.generation.public_id, Fields({"content": "Hi"}))
    sent.conversation.memberships.update(role="writer")
    with pytest.raises(InvalidRequest):
        commands.steer(reader, sent.generation.public_id, Fields({"content": " "}))
    outcome = commands.steer(Requester(user("bob")), sent.generation.public_id, Fields({"content": "Hi"}))
    assert isinstance(outcome, Steered)
    assert commands.generation_result(outcome)["steer"] == outcome.steer


def test_a_repeated_message_is_one_message_even_after_the_end() -> None:
    with site():
        sent = ask(Conversation.objects.create(owner=user()))
        ann = Requester(user())

        def say(content: str, client_id: str = "") -> Steered:
            fields = Fields({"content": content, "client_id": "x"})
            return commands.steer(ann, sent.generation.public_id, fields, client_id=client_id)

        first = say("Go")
        assert say("Go", client_id="unused").steer == first.steer
        with pytest.raises(IdempotencyConflict):
            say("Stop")
        with pytest.raises(IdempotencyConflict):
            steer(sent.generation.pk, "Go", None, "x")
        assert steer(sent.generation.pk, "Go", None, "y").steer != first.steer
        stop(sent.generation.pk)
        assert say("Go").steer == first.steer
        assert Generation.objects.get(pk=sent.generation.pk).steers == 2
