"""Tool calls that wait, decided in the admin."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import CHANGE, LogEntry

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.approvals import decide
from llmstream.models import Generation, ToolCall
from tests.admin.staff import ADMIN, body, readings, signed_in
from tests.support import asked, ended, site, stored_one, until
from tests.tools.site import agent, order

pytestmark = pytest.mark.django_db(transaction=True)

VIEWER = ("view_generation", "view_conversation")


async def waiting(running: Engine) -> Generation:
    """Return an answer that waits for a decision on a call."""
    sent = await asked(running, order([("wipe", {"what": "the-disk"})]))
    await stored_one(sent.conversation, "tool-approval-request")
    await until(lambda: not running.runs)
    return sent.generation


def page(found: Generation, *permissions: str) -> str:
    """The page of a generation as somebody with these permissions sees it."""
    return body(signed_in(*permissions).get(f"{ADMIN}generation/{found.pk}/change/"))


def decided(found: Generation, *permissions: str, **form: str) -> int:
    """Press a button; return the status of the answer."""
    status: int = signed_in(*permissions).post(f"{ADMIN}generation/{found.pk}/decide/", form).status_code
    return status


async def test_a_call_is_approved_on_the_generation_s_page_and_the_answer_goes_on(running: Engine) -> None:
    with site(models={"default": agent("wipe")}):
        found = await waiting(running)
        call = await ToolCall.objects.aget(generation=found.pk)
        shown = await run_db(page, found, *VIEWER, "change_generation", "view_content")
        assert "the-disk" in shown
        assert 'name="decision" value="approve"' in shown
        assert "asks for" in (await run_db(readings))[-1]
        status = await run_db(decided, found, *VIEWER, "change_generation", call=call.call, decision="approve")
        running.await_turn(found.conversation_id)
        assert status == 302
        assert (await ended(found)).status == "completed"
    await call.arefresh_from_db()
    assert (call.status, call.output) == ("done", "wiped the-disk")
    entry = await LogEntry.objects.filter(action_flag=CHANGE).alatest("pk")
    assert (entry.object_id, entry.change_message) == (str(found.pk), f"Approved: {call.call}.")


async def test_who_may_not_read_does_not_see_the_input_and_who_may_not_operate_decides_nothing(running: Engine) -> None:
    with site(models={"default": agent("wipe")}):
        found = await waiting(running)
        call = await ToolCall.objects.aget(generation=found.pk)
        shown = await run_db(page, found, *VIEWER, "change_generation")
        assert "the-disk" not in shown
        assert 'value="deny"' in shown
        assert 'value="deny"' not in await run_db(page, found, *VIEWER)
        assert await run_db(decided, found, *VIEWER, call=call.call, decision="deny") == 403
        await call.arefresh_from_db()
        assert call.status == "pending"


async def test_a_late_decision_is_told_and_changes_nothing(running: Engine) -> None:
    with site(models={"default": agent("wipe")}):
        found = await waiting(running)
        call = await ToolCall.objects.aget(generation=found.pk)
        await run_db(decide, found.pk, call.call, "deny", None)
        for form in ({"call": call.call, "decision": "approve"}, {"call": "no-such", "decision": "deny"}, {}):
            assert await run_db(decided, found, *VIEWER, "change_generation", **form) == 302
    await call.arefresh_from_db()
    assert call.approved is False
    assert not await LogEntry.objects.filter(action_flag=CHANGE).aexists()
