"""Tool calls that wait for a person: the request, the decision, and its absence.

A generation that waits has no owner, no lease and no task. The decision on its last pending call queues it again, and
whichever process claims it goes on from the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models.functions import Now
from django.utils import timezone

from ..events import CALL_ID, TOOL_APPROVAL_RESPONSE, TOOL_RESULT
from ..exceptions import NoSuchToolCall, ToolCallDecided, ToolDenied, ToolError, ToolExpired, ToolInterrupted
from ..log.rows import database_alias
from ..log.transaction import LogTransaction, locked
from ..models import Generation, ToolCall
from ..signals import approval_decided, approval_requested
from ..snapshot import user_object
from ..toolbox.results import tool_error_object
from .queries import after_commit, get_generation

Status = ToolCall.Status

#: What can become of a call that waits, and the word for it when nobody decides.
APPROVE, DENY, EXPIRED = "approve", "deny", "expired"


def suspend(generation: int, calls: Sequence[str], expires_at: datetime, *, first_token_at: datetime | None) -> None:
    """Make a generation wait for decisions on calls; for the transaction that stores the requests."""
    _calls(generation).filter(call__in=calls).update(status=Status.PENDING, expires_at=expires_at)
    Generation.objects.using(database_alias()).filter(pk=generation).update(
        status=Generation.Status.WAITING, lease_expires_at=None, first_token_at=first_token_at
    )


def tell_requested(generation: int, calls: Sequence[str]) -> None:
    """Send ``approval_requested`` for calls that wait, if anybody listens."""
    if not approval_requested.has_listeners(ToolCall):
        return
    for row in _calls(generation).filter(call__in=calls).order_by("pk"):
        approval_requested.send_robust(ToolCall, tool_call=row)


def decide(generation: int, call: str, decision: str, user: Any) -> Generation:
    """Approve or deny a pending call. The first decision holds: the same one again changes nothing.

    Raises ToolCallDecided, with the decision and by whom, for a contrary one or one that comes too late, and
    NoSuchToolCall for a call that needs none.
    """
    if not CALL_ID.fullmatch(call):
        raise NoSuchToolCall
    late: ToolCallDecided | None = None
    with locked(get_generation(generation).conversation_id) as log:
        found = get_generation(generation)
        row = _calls(generation).select_related("decided_by").filter(call=call, expires_at__isnull=False).first()
        if row is None:
            raise NoSuchToolCall
        if row.status == Status.PENDING and row.expires_at and row.expires_at <= timezone.now():
            _settle(log, found, row, EXPIRED, None)
            late = _decided(row)
        elif row.status == Status.PENDING:
            _settle(log, found, row, decision, user)
        elif _decision(row) != decision:
            raise _decided(row)
    if late:  # after the commit of what it tells
        raise late
    return get_generation(generation)


def expire() -> list[int]:
    """Return the conversations in which a call waits that nobody has decided on in time."""
    rows = ToolCall.objects.using(database_alias()).filter(status=Status.PENDING, expires_at__lt=Now())
    return list(rows.values_list("generation__conversation", flat=True).distinct())


def expire_calls(log: LogTransaction) -> None:
    """Settle the calls of a locked conversation that nobody has decided on in time."""
    rows = ToolCall.objects.using(database_alias()).filter(
        generation__conversation=log.conversation, status=Status.PENDING, expires_at__lt=Now()
    )
    for row in rows.order_by("pk"):
        _settle(log, get_generation(row.generation_id), row, EXPIRED, None)


def take_up(generation: int) -> None:
    """Mark what was approved as running; for the transaction that gives the generation an owner."""
    _calls(generation).filter(status=Status.APPROVED).update(status=Status.RUNNING)


def cut_off(generation: int) -> None:
    """Settle the calls that were at work when their generation lost its owner."""
    code = ToolInterrupted.code
    _calls(generation).filter(status=Status.RUNNING).update(status=Status.FAILED, error=code)


def give_up(generation: int) -> None:
    """Settle the calls that a generation leaves open at its end."""
    _calls(generation).filter(status=Status.PENDING).update(status=Status.EXPIRED, decided_at=timezone.now())
    _calls(generation).filter(status__in=ToolCall.OPEN).update(status=Status.FAILED)


def _settle(log: LogTransaction, generation: Generation, row: ToolCall, decision: str, user: Any) -> None:
    ids = {"message": generation.message.public_id, "generation": generation.public_id, "call": row.call}
    by = user_object(user) if user else None
    log.append({"type": TOOL_APPROVAL_RESPONSE, **ids, "decision": decision, "by": by}, generation.pk)
    error: ToolError | None = {DENY: ToolDenied(), EXPIRED: ToolExpired()}.get(decision)
    if error:
        log.append({"type": TOOL_RESULT, **ids, "tool": row.tool, "error": tool_error_object(error)}, generation.pk)
    row.status = {APPROVE: Status.APPROVED, DENY: Status.DENIED}.get(decision, Status.EXPIRED)
    row.approved = {APPROVE: True, DENY: False}.get(decision)
    row.error = error.code if error else ""
    row.decided_by, row.decided_at = user, timezone.now()
    row.save(update_fields=["status", "approved", "error", "decided_by", "decided_at"])
    after_commit(approval_decided, ToolCall, tool_call=row)
    if not _calls(generation.pk).filter(status=Status.PENDING).exists():
        waiting = Generation.objects.using(database_alias()).filter(pk=generation.pk, status=Generation.Status.WAITING)
        waiting.update(status=Generation.Status.QUEUED)


def _decision(row: ToolCall) -> str:
    return EXPIRED if row.approved is None else APPROVE if row.approved else DENY


def _decided(row: ToolCall) -> ToolCallDecided:
    by = user_object(row.decided_by) if row.decided_by else None
    return ToolCallDecided(tool_call={"call": row.call, "decision": _decision(row), "by": by})


def _calls(generation: int) -> Any:
    return ToolCall.objects.using(database_alias()).filter(generation=generation)
