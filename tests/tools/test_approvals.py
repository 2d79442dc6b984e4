"""Tool calls that wait for a person: no owner meanwhile, one decision, and any process goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from llmstream import commands
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.exceptions import GenerationInProgress, NoSuchToolCall, PermissionDenied, ToolCallDecided
from llmstream.generations.approvals import decide
from llmstream.generations.endings import stop
from llmstream.generations.prompts import Sent
from llmstream.generations.recovery import sweep
from llmstream.models import Conversation, Generation, Membership, ToolCall, UsageRecord
from llmstream.permissions import Requester
from llmstream.snapshot import state
from tests.generations.test_races import at_once
from tests.support import ask, asked, check_log, ended, site, stored_one, types, until, user
from tests.tools.site import agent, order
from tests.tools.test_loop import Recorded, results

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

WIPE = order([("wipe", {"what": "a"})])


async def waiting(running: Engine, prompt: str = WIPE, **fields: Any) -> Sent:
    """Send a prompt whose answer comes to wait for a decision."""
    sent = await asked(running, prompt, **fields)
    await stored_one(sent.conversation, "tool-approval-request")
    await until(lambda: sent.generation.pk not in running.runs)
    return sent


def fresh(sent: Sent) -> Generation:
    """Return the generation as it is now."""
    return Generation.objects.select_related("message").get(pk=sent.generation.pk)


def row() -> ToolCall:
    """Return the only tool call."""
    return ToolCall.objects.select_related("decided_by").get()


async def test_a_call_waits_without_an_owner_and_goes_on_when_it_is_approved(running: Engine) -> None:
    recorded = Recorded()
    with site(models={"default": agent("wipe", "add", script=recorded)}):
        sent = await waiting(running, order([("add", {"a": 1, "b": 1}), ("wipe", {"what": "a"})]))
        found = await run_db(fresh, sent)
        assert (found.status, found.lease_expires_at) == ("waiting", None)
        assert len(recorded.requests) == 1
        shown = (await run_db(state, await run_db(Conversation.objects.get, pk=sent.conversation.pk)))["generations"]
        assert [item["status"] for item in shown] == ["waiting"]
        decided = await run_db(decide, sent.generation.pk, "call_0_1", "approve", await run_db(user, "bob"))
        assert decided.status in {"queued", "running", "completed"}  # It may have been taken up by now.
        generation = await ended(sent.generation)
        events = await run_db(check_log, sent.conversation)
    assert results(generation.message.parts) == [2, "wiped a"]
    assert types(events).count("generation-start") == 1
    bob = {"id": str((await run_db(user, "bob")).pk), "name": "bob"}
    approval = generation.message.parts[2]["approval"]
    assert (approval["decision"], approval["by"]) == ("approve", bob)
    found_row = await run_db(ToolCall.objects.get, call="call_0_1")
    assert (found_row.status, found_row.output, found_row.approved) == ("done", "wiped a", True)
    assert [event["output"] for event in events if event["type"] == "usage"] == [3, 5]
    assert await run_db(UsageRecord.objects.count) == 2
    assert recorded.requests[1].messages[1].tool_calls[1].name == "wipe"


async def test_a_denial_goes_back_to_the_model(running: Engine) -> None:
    recorded = Recorded()
    with site(models={"default": agent("wipe", script=recorded)}):
        sent = await waiting(running)
        await run_db(decide, sent.generation.pk, "call_0_0", "deny", None)
        generation = await ended(sent.generation)
        await run_db(check_log, sent.conversation)
    assert generation.status == "completed"
    assert results(generation.message.parts) == ["tool_denied"]
    assert "denied" in recorded.requests[1].messages[2].content
    assert (await run_db(row)).status == "denied"


async def test_an_approval_may_depend_on_the_arguments(running: Engine) -> None:
    with site(models={"default": agent("pay")}):
        sent = await waiting(running, order([("pay", {"amount": 5}), ("pay", {"amount": 500})]))
        rows = await run_db(lambda: list(ToolCall.objects.order_by("pk").values_list("status", flat=True)))
        assert rows == ["done", "pending"]
        await run_db(decide, sent.generation.pk, "call_0_1", "approve", None)
        assert results((await ended(sent.generation)).message.parts) == ["paid 5", "paid 500"]


async def test_it_goes_on_when_nothing_waits_any_more(running: Engine) -> None:
    with site(models={"default": agent("wipe")}):
        sent = await waiting(running, order([("wipe", {"what": "a"}), ("wipe", {"what": "b"})]))
        assert (await run_db(decide, sent.generation.pk, "call_0_1", "deny", None)).status == "waiting"
        assert (await run_db(decide, sent.generation.pk, "call_0_0", "approve", None)).status != "waiting"
        assert results((await ended(sent.generation)).message.parts) == ["wiped a", "tool_denied"]


async def test_the_first_decision_holds(running: Engine) -> None:
    with site(models={"default": agent("wipe")}):
        sent = await waiting(running)
        ann, pk = await run_db(user), sent.generation.pk
        await run_db(decide, pk, "call_0_0", "deny", ann)
        await ended(sent.generation)
        before = await run_db(check_log, sent.conversation)
        await run_db(decide, pk, "call_0_0", "deny", None)
        with pytest.raises(ToolCallDecided) as told:
            await run_db(decide, pk, "call_0_0", "approve", None)
        assert await run_db(check_log, sent.conversation) == before
    assert told.value.extra == {
        "tool_call": {"call": "call_0_0", "decision": "deny", "by": {"id": str(ann.pk), "name": "ann"}}
    }


async def test_only_calls_that_need_a_decision_take_one(running: Engine) -> None:
    with site(models={"default": agent("wipe", "add")}):
        sent = await waiting(running, order([("wipe", {"what": "a"}), ("add", {"a": 1, "b": 1})]))
        for call in ("call_0_1", "unknown"):
            with pytest.raises(NoSuchToolCall):
                await run_db(decide, sent.generation.pk, call, "approve", None)


async def test_of_twenty_decisions_at_once_one_holds_and_the_contrary_ones_are_told(running: Engine) -> None:
    with site(models={"default": agent("wipe")}):
        sent = await waiting(running)
        turns = iter(["approve", "deny"] * 10)
        outcomes = await run_db(at_once, lambda: decide(sent.generation.pk, "call_0_0", next(turns), None), 20)
        await ended(sent.generation)
    told = [outcome for outcome in outcomes if isinstance(outcome, ToolCallDecided)]
    assert len(told) == 10
    kept = await run_db(row)
    assert {error.extra["tool_call"]["decision"] for error in told} == {"approve" if kept.approved else "deny"}
    events = await run_db(check_log, sent.conversation)
    assert types(events).count("tool-approval-response") == 1


async def test_a_call_on_which_nobody_decides_expires(running: Engine) -> None:
    with site(models={"default": agent("wipe")}, SWEEP_INTERVAL=0.05, POLL_INTERVAL=0.05, LEASE=5.0):
        sent = await waiting(running)
        await run_db(lapse)
        generation = await ended(sent.generation)
        events = await run_db(check_log, sent.conversation)
    assert generation.status == "completed"
    assert results(generation.message.parts) == ["tool_expired"]
    answers = [event for event in events if event["type"] == "tool-approval-response"]
    assert [(event["decision"], event["by"]) for event in answers] == [("expired", None)]
    assert (await run_db(row)).status == "expired"


def lapse() -> None:
    """Let every request expire."""
    ToolCall.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


async def test_a_decision_that_comes_too_late_is_told_so(running: Engine) -> None:
    with site(models={"default": agent("wipe")}, SWEEP_INTERVAL=60.0):
        sent = await waiting(running)
        await run_db(lapse)
        with pytest.raises(ToolCallDecided) as told:
            await run_db(decide, sent.generation.pk, "call_0_0", "approve", None)
        assert told.value.extra["tool_call"]["decision"] == "expired"
        assert results((await ended(sent.generation)).message.parts) == ["tool_expired"]


async def test_a_stop_ends_what_waits(running: Engine) -> None:
    with site(models={"default": agent("wipe")}):
        sent = await waiting(running)
        assert (await run_db(stop, sent.generation.pk)).status == "stopped"
        with pytest.raises(ToolCallDecided):
            await run_db(decide, sent.generation.pk, "call_0_0", "approve", None)
        events = await run_db(check_log, sent.conversation)
        assert (await run_db(row)).status == "expired"
    assert types(events)[-2:] == ["tool-approval-request", "message-end"]
    assert await run_db(UsageRecord.objects.count) == 1


async def test_a_prompt_meets_what_waits_as_it_meets_what_runs(running: Engine) -> None:
    with site(models={"default": agent("wipe")}):
        sent = await waiting(running)
        with pytest.raises(GenerationInProgress):
            await run_db(ask, sent.conversation)
        await run_db(sweep)
        assert (await run_db(fresh, sent)).status == "waiting"


async def test_an_owner_that_dies_with_a_tool_at_work_does_not_have_it_run_again(running: Engine) -> None:
    with site(models={"default": agent("wipe")}, LEASE=10.0, SWEEP_INTERVAL=0.05, POLL_INTERVAL=0.05):
        sent = await waiting(running)
        await run_db(crash_after_approval, sent)
        generation = await ended(sent.generation)
        await run_db(check_log, sent.conversation)
        assert (await run_db(row)).status == "failed"
    assert generation.status == "completed"
    assert results(generation.message.parts) == ["tool_interrupted"]
    assert generation.message.parts[-1]["text"].endswith("Done.")


def crash_after_approval(sent: Sent) -> None:
    """Approve, and let somebody claim it who dies at once."""
    past = timezone.now() - timedelta(seconds=60)
    ToolCall.objects.update(status="running", approved=True)
    Generation.objects.filter(pk=sent.generation.pk).update(status="running", fence=2, lease_expires_at=past)


@pytest.mark.parametrize(("role", "allowed"), [("reader", False), ("writer", True), ("owner", True)])
async def test_who_may_write_may_decide(running: Engine, role: str, allowed: bool) -> None:
    with site(models={"default": agent("wipe")}):
        sent = await waiting(running)
        requester = await run_db(join, sent.conversation, role)
        given = requester, sent.generation.public_id, "call_0_0", "approve"
        if allowed:
            await run_db(commands.decide, *given)
            assert (await ended(sent.generation)).status == "completed"
        else:
            with pytest.raises(PermissionDenied):
                await run_db(commands.decide, *given)


def join(conversation: Conversation, role: str) -> Requester:
    """Make bob a member."""
    Membership.objects.create(conversation=conversation, user=user("bob"), role=role)
    return Requester(user("bob"))


@pytest.mark.parametrize("call", ["nothing", "", "a\0b", "x" * 70])
def test_what_is_no_call_is_not_there(call: str) -> None:
    sent = ask(Conversation.objects.create())
    with pytest.raises(NoSuchToolCall):
        decide(sent.generation.pk, call, "approve", None)
