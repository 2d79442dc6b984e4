"""Erasing: nothing of a person is left, and nothing else is gone."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.utils import timezone

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.approvals import APPROVE, decide
from llmstream.generations.prompts import Sent
from llmstream.generations.steering import steer
from llmstream.log.transaction import locked
from llmstream.models import (
    Conversation,
    Event,
    Generation,
    Membership,
    Message,
    Node,
    Presence,
    ToolCall,
    UsageRecord,
)
from llmstream.quotas import account_of
from llmstream.readers import resume
from llmstream.retention.erasing import erase, find
from llmstream.retention.tombstones import TOMBSTONE
from llmstream.snapshot import state
from tests.admin.staff import finish, say
from tests.support import (
    Upstream,
    ask,
    ask_in,
    conversation,
    ended,
    site,
    stored_one,
    user,
    within,
)

from .support import exists, run

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def guest() -> tuple[Sent, Sent]:
    """Return a conversation of bob's own, and one of ann's in which bob has asked, steered and decided, that runs."""
    bob = user("bob")
    own = finish(ask(conversation(owner=bob), "My own", author=bob))
    shared = conversation(owner=user("ann"))
    Membership.objects.create(conversation=shared, user=bob)
    first = ask(shared, "Ann asks", author=user("ann"))
    say(first.generation, "Ann's answer")
    finish(first)
    sent = ask(shared, "Bob's secret", author=bob, client_id="from-bob")
    call = {"message": sent.answer.public_id, "generation": sent.generation.public_id, "call": "c1", "tool": "t"}
    say(sent.generation, "Answer")
    append(sent, {"type": "tool-call", **call, "part": 1, "input": {}, "step": 1})
    append(sent, {"type": "tool-approval-request", **call, "input": {}, "expires_at": "2030-01-01T00:00:00Z"})
    ToolCall.objects.create(
        generation=sent.generation,
        call="c1",
        tool="t",
        status="pending",
        expires_at=timezone.now() + timedelta(days=1),
    )
    Generation.objects.filter(pk=sent.generation.pk).update(status="waiting", lease_expires_at=None)
    decide(sent.generation.pk, "c1", APPROVE, bob)
    steered = steer(sent.generation.pk, "Bob steers", bob)
    ids = {"message": sent.answer.public_id, "generation": sent.generation.public_id, "steer": steered.steer}
    named = {"author": {"id": str(bob.pk), "name": "bob"}}
    append(sent, {"type": "steer-accepted", **ids, "part": 2, "content": "Bob steers", **named})
    steer(sent.generation.pk, "Bob steers on", bob, "from-bob-too")
    Presence.objects.create(
        conversation=shared, node=Node.objects.create(expires_at=timezone.now()), user=bob, connection="c"
    )
    return own, sent


def append(sent: Sent, event: dict[str, Any]) -> None:
    """Store an event of a generation."""
    with locked(sent.conversation.pk) as log:
        log.append(event, sent.generation.pk)


def traces(of: Conversation) -> list[str]:
    """Return whatever in a conversation still tells of bob."""
    bob = user("bob")
    texts = [json.dumps(data) for data in Event.objects.filter(conversation=of).values_list("data", flat=True)]
    texts += [json.dumps(parts) for parts in Message.objects.filter(conversation=of).values_list("parts", flat=True)]
    texts += Message.objects.filter(conversation=of).values_list("text", flat=True)
    words = "Bob", '"bob"', f'"id": "{bob.pk}"', "from-bob"
    return [text for text in texts if any(word in text for word in words)]


def test_nothing_of_an_erased_person_is_left() -> None:
    own, sent = guest()
    ann, bob = user("ann"), user("bob")
    shared = Conversation.objects.get(pk=sent.conversation.pk)
    assert traces(shared)
    seen = str(shared.last_event_id)
    expected = find(bob)
    assert (expected.conversations, expected.shared, expected.messages) == (1, 1, 1)
    told = run("llmstream_erase", "bob")
    assert "Erased: 1 conversations; 1 messages in 1 conversations of others; 1 memberships; 1 presences" in told
    assert not exists(own)
    assert traces(shared) == []
    assert not Message.objects.filter(author=bob).exists()
    assert not UsageRecord.objects.filter(user=bob).exists()
    assert not UsageRecord.objects.filter(account=account_of(Conversation(owner=bob))).exists()
    assert UsageRecord.objects.filter(conversation=None).count() == 1
    # What ran was stopped, and what is not bob's is as it was.
    assert Generation.objects.get(pk=sent.generation.pk).status == "stopped"
    texts = [message["parts"][0]["text"] for message in state(Conversation.objects.get(pk=shared.pk))["messages"]]
    assert texts == ["Ann asks", "Ann's answer", TOMBSTONE, "Answer"]
    assert UsageRecord.objects.filter(user=ann).exists()
    start = resume(Conversation.objects.get(pk=shared.pk), seen)
    assert start
    assert start.preface[0][0]["reason"] == "epoch"
    assert run("llmstream_erase", "bob").startswith("Erased: 0 conversations; 0 messages")


def test_a_dry_run_of_erasing_changes_nothing() -> None:
    own, sent = guest()
    before = traces(sent.conversation)
    told = run("llmstream_erase", str(user("bob").pk), "--pk", "--dry-run")
    assert "To erase: 1 conversations; 1 messages in 1 conversations of others; 1 memberships; 1 presences" in told
    assert exists(own)
    assert traces(sent.conversation) == before


@pytest.mark.parametrize("which", [0, 1])
def test_a_hold_refuses_all_of_it_unless_overridden(which: int) -> None:
    pair = guest()
    before = traces(pair[1].conversation)
    Conversation.objects.filter(pk=pair[which].conversation.pk).update(held=True)
    with pytest.raises(CommandError) as caught:
        run("llmstream_erase", "bob")
    assert caught.value.returncode == 3
    assert exists(pair[0])
    assert traces(pair[1].conversation) == before
    assert Membership.objects.exists()
    erase(user("bob"), override_hold=True)
    assert not exists(pair[0])
    assert traces(pair[1].conversation) == []


async def test_erasing_stops_what_runs_and_nothing_of_it_comes_later(running: Engine) -> None:
    upstream = Upstream()
    with site(upstream):
        bob = await run_db(user, "bob")
        shared = await run_db(lambda: conversation(owner=user("ann")))
        sent = await ask_in(running, shared, "Bob's secret", author=bob)
        upstream.say("So far")
        await stored_one(shared, "text-delta")
        erased = await run_db(erase, bob)
        upstream.say(" and on")
        await within(upstream.closed.wait())
    assert (erased.messages, erased.shared) == (1, 1)
    assert (await ended(sent.generation)).status == "stopped"
    found = await run_db(lambda: state(Conversation.objects.get(pk=shared.pk)))
    assert [message["parts"][0]["text"] for message in found["messages"]] == [TOMBSTONE, "So far"]
    assert await run_db(traces, shared) == []


def test_an_unknown_person_is_refused() -> None:
    for arguments in (("nobody",), ("x", "--pk")):
        with pytest.raises(CommandError, match="There is no user"):
            run("llmstream_erase", *arguments)
