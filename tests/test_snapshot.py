"""Snapshots: the state as of every position is the fold of the events up to it."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import pytest
from django.utils import timezone

from llmstream.answer import Answer
from llmstream.branches import choose
from llmstream.events import (
    BRANCH_CHOSEN,
    PART_KINDS,
    PHASE,
    REASONING_DELTA,
    STEER,
    TEXT_DELTA,
    TOOL_APPROVAL_REQUEST,
    TOOL_CALL,
    USAGE,
    delta,
)
from llmstream.generations.approvals import suspend
from llmstream.generations.claims import claim_next
from llmstream.generations.endings import Ending, fail, stop, store_ending
from llmstream.generations.prompts import Prompt, Sent, retry, send
from llmstream.generations.steering import steer
from llmstream.generations.teller import RunTeller
from llmstream.log.group import Write, commit
from llmstream.log.rows import Draft
from llmstream.log.writer import Lane
from llmstream.models import Conversation, Generation
from llmstream.providers.base import Usage
from llmstream.snapshot import snapshot_event, state
from tests.support import changed, check_log, conversation, message_ids, stored, user
from tests.test_answer import Tape

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def say(sent: Sent, *pieces: tuple[str, int, str]) -> None:
    """Let a running generation say pieces: kind, part and text."""
    ids = sent.answer.public_id, sent.generation.public_id
    drafts = [Draft.of(delta(kind, *ids, part, text), sent.generation.pk) for kind, part, text in pieces]
    assert not commit([Write(sent.conversation.pk, sent.generation.pk, sent.generation.fence, drafts, 0)])


def complete(sent: Sent, *pieces: tuple[str, str]) -> None:
    """Let a running generation say pieces, kind and text, and end by itself, as its runner stores it."""
    ending = Ending("completed", finish_reason="stop", usage=Usage(3, 2))
    for kind, text in pieces:
        say(sent, (kind, ending.answer.grow(kind, text), text))
    drafts = [
        Draft.of(event, sent.generation.pk) for event in ending.events(sent.answer.public_id, sent.generation.public_id)
    ]

    def apply(seq: int) -> None:
        store_ending(
            ending,
            seq,
            conversation=sent.conversation.pk,
            message=sent.answer.pk,
            generation=sent.generation.pk,
            user=None,
            account="",
            model="default",
        )

    assert not commit([Write(sent.conversation.pk, sent.generation.pk, sent.generation.fence, drafts, 0, apply)])


def recorded() -> Conversation:
    """Return a conversation with reasoning, a failure, a stop, retries of both, and an answer that runs."""
    owner = conversation(owner=user(), title="Recorded")
    first = send(owner.pk, Prompt("One", author=user()))
    complete(first, (REASONING_DELTA, "let me "), (REASONING_DELTA, "think"), (TEXT_DELTA, "an"), (TEXT_DELTA, "swer"))
    second = send(owner.pk, Prompt("Two", author=user()))
    say(second, (TEXT_DELTA, 0, "half"))
    stop(second.generation.pk)
    third = retry(second.generation.pk)
    fail(third.generation.pk, third.generation.fence, "provider_timeout")
    complete(retry(third.generation.pk), (TEXT_DELTA, "whole"))
    ask_for_a_tool(send(owner.pk, Prompt("Tool", author=user())))
    choose(owner.pk, first.message.public_id)
    choose(owner.pk, third.answer.public_id)
    complete(send(owner.pk, Prompt("Edited", author=user(), edits=first.message.public_id)), (TEXT_DELTA, "other"))
    running = send(owner.pk, Prompt("Slow", author=user()))
    waiting = [send(owner.pk, Prompt(content, author=user(), busy="queue")) for content in ("Waits", "In vain")]
    stop(waiting[1].generation.pk)
    complete(running, (TEXT_DELTA, "done"))
    claim_next(owner.pk)
    stop(waiting[0].generation.pk)
    last = send(owner.pk, Prompt("Three", author=user()))
    say(last, (REASONING_DELTA, 0, "still"), (TEXT_DELTA, 1, "going"), (TEXT_DELTA, 1, " on"))
    return Conversation.objects.get(pk=owner.pk)


def ask_for_a_tool(sent: Sent) -> None:
    """Let a running generation ask for a tool that needs an approval, be steered and stopped."""
    say(sent, (TEXT_DELTA, 0, "Wait."))
    answer, tape = Answer(), Tape()
    answer.grow(TEXT_DELTA, "Wait.")
    teller = RunTeller(cast(Lane, tape), answer, sent.answer.public_id, sent.generation.public_id)
    teller.tell(PHASE, name="asking", detail="")
    teller.tell(TOOL_CALL, call="c", tool="wipe", input={}, step=1)
    teller.tell(TOOL_APPROVAL_REQUEST, call="c", tool="wipe", input={}, expires_at="2026-01-01T00:00:00.000Z")
    drafts = [Draft.of(event, sent.generation.pk) for event in tape.events]
    waits = partial(suspend, sent.generation.pk, ["c"], timezone.now(), first_token_at=None)
    assert not commit(
        [Write(sent.conversation.pk, sent.generation.pk, sent.generation.fence, drafts, 1, lambda _: waits())]
    )
    steer(sent.generation.pk, "Hurry", user())
    stop(sent.generation.pk)


def grow(parts: list[dict[str, Any]], event: dict[str, Any]) -> None:
    """Add a delta to a message's parts."""
    if event["part"] == len(parts):
        parts.append({"type": PART_KINDS[event["type"]], "text": ""})
    parts[event["part"]]["text"] += event["delta"]


def tell(parts: list[dict[str, Any]], event: dict[str, Any]) -> None:
    """Apply one of the two events of a tool call that are recorded here."""
    if event["type"] == TOOL_CALL:
        fields = {key: event[key] for key in ("call", "tool", "input", "step")}
        parts.append({"type": "tool", **fields, "approval": None})
    else:
        assert event["type"] == TOOL_APPROVAL_REQUEST
        parts[-1]["approval"] = {"decision": None, "by": None, "expires_at": event["expires_at"]}


def leaf_of(events: list[dict[str, Any]]) -> str | None:
    """Return the leaf as a client that applies events one by one has it."""
    leaves = [event["message"]["id"] if event["type"] == "message-created" else event.get("leaf") for event in events]
    return next((leaf for leaf in reversed(leaves) if leaf), None)


def fold(events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return messages and generations as a client that applies events one by one has them."""
    messages: dict[str, dict[str, Any]] = {}
    generations: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["type"] == "message-created":
            message = messages[event["message"]["id"]] = {**event["message"], "parts": [*event["message"]["parts"]]}
            if message["role"] == "assistant":
                queued = {"id": event["generation"], "message": message["id"], "status": "queued"}
                generations[event["generation"]] = queued
        elif event["type"] == "generation-start":
            started = {"model": event["model"], "attempt": event["attempt"], "status": "running"}
            generations[event["generation"]] |= started
        elif event["type"] in PART_KINDS:
            grow(messages[event["message"]]["parts"], event)
        elif event["type"] == "message-end":
            end = {"status": event["status"], "finish_reason": event["finish_reason"], "error": event.get("error")}
            generations[event["generation"]] |= {**end, "phase": None, "steers": []}
            messages[event["message"]]["status"] = event["status"]
        elif event["type"] == PHASE:
            generations[event["generation"]]["phase"] = {"name": event["name"], "detail": event["detail"]}
        elif event["type"] == STEER:
            steers = [{key: event[key] for key in ("steer", "content", "author")}]
            generations[event["generation"]]["steers"] = steers
        elif event["type"] not in (USAGE, BRANCH_CHOSEN):
            tell(messages[event["message"]]["parts"], event)
            waits = event["type"] == TOOL_APPROVAL_REQUEST
            generations[event["generation"]]["status"] = "waiting" if waits else "running"
    begun: dict[str, Any] = {"finish_reason": None, "error": None, "model": "default", "phase": None, "steers": []}
    begun["left_out"] = 0
    return list(messages.values()), [{**begun, **generation} for generation in generations.values()]


def test_the_state_at_every_position_is_the_fold_of_the_events_up_to_it() -> None:
    owner = recorded()
    events = check_log(owner)
    assert {event["status"] for event in events if event["type"] == "message-end"} == {"completed", "stopped", "failed"}
    for seq in range(owner.head + 1):
        messages, generations = fold(events[:seq])
        found = state(owner, seq)
        assert found["messages"] == messages, seq
        assert found["leaf"] == leaf_of(events[:seq]), seq
        for item, known in zip(found["generations"], generations, strict=True):
            if ends_at(item["id"]) == seq + 1:
                # Of an answer that the next event ends, the parts are there already, and nothing else is kept.
                known |= {"phase": None, "steers": []}
            # Only the attempt is in the state before it is announced.
            assert {**item, "attempt": known.get("attempt")} == {"attempt": None, **known}, seq
            assert known.get("attempt") in (None, item["attempt"])
        assert (found["last_event_id"], found["truncated"]) == (f"{owner.public_id}.1.{seq:012d}", False)


def ends_at(public_id: str) -> int | None:
    """Return the position of a generation's end."""
    return Generation.objects.get(public_id=public_id).end_seq


def test_beyond_the_head_is_the_head() -> None:
    owner = recorded()
    assert state(owner, owner.head + 100) == state(owner) == state(owner, owner.head)


def test_a_snapshot_goes_on_where_it_ends() -> None:
    owner = recorded()
    events = stored(owner)
    whole, _ = fold(events)
    for seq in range(owner.head + 1):
        snapshot = snapshot_event(owner, seq)
        messages = {message["id"]: message for message in snapshot["messages"]}
        for event in events[seq:]:
            if event["type"] == "message-created":
                messages[event["message"]["id"]] = {**event["message"], "parts": [*event["message"]["parts"]]}
            elif event["type"] in PART_KINDS:
                grow(messages[event["message"]]["parts"], event)
            elif event["type"] in (TOOL_CALL, TOOL_APPROVAL_REQUEST):
                tell(messages[event["message"]]["parts"], event)
        assert [message["parts"] for message in messages.values()] == [message["parts"] for message in whole], seq


def test_one_generation_s_state_is_its_prompt_and_its_answer() -> None:
    owner = recorded()
    for generation in Generation.objects.filter(conversation=owner).select_related("message__parent"):
        found = state(owner, owner.head, generation)
        assert generation.message.parent is not None
        assert [message["id"] for message in found["messages"]] == [
            generation.message.parent.public_id,
            generation.message.public_id,
        ]
        assert [item["id"] for item in found["generations"]] == [generation.public_id]


def test_of_more_messages_than_the_limit_the_newest_are_there() -> None:
    owner = recorded()
    with changed(MAX_MESSAGES=3):
        found = state(owner)
    assert [message["id"] for message in found["messages"]] == message_ids(owner)[-3:]
    assert found["truncated"]
    assert len(found["generations"]) == 2
