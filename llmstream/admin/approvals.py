"""Tool calls that wait for somebody's decision, decided on the page of their generation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from ..exceptions import LLMStreamError
from ..generations.approvals import APPROVE, DENY, decide
from ..models import Generation, ToolCall
from ..serving import serving_engine
from .content import log_read, may_read
from .operations import record

#: What can be decided, and what it says that it is done.
DECISIONS: Final[dict[str, tuple[Any, Any]]] = {
    APPROVE: (_("Approve"), _("Approved: %s.")),
    DENY: (_("Deny"), _("Denied: %s.")),
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call; ``input`` is what the tool would be called with, None for whoever may not read it."""

    call: str
    tool: str
    expires_at: datetime | None
    input: str | None


def waiting_calls(request: HttpRequest, generation: Generation) -> Sequence[Waiting]:
    """Return the calls that wait, and record that their input is read by whoever may."""
    if generation.status != Generation.Status.WAITING:
        return []
    rows = list(generation.tool_calls.filter(status=ToolCall.Status.PENDING).order_by("pk"))
    readable = may_read(request)
    if rows and readable:
        log_read(request, [generation.conversation], _t("Read what generation %s asks for.") % generation.public_id)
    return [
        Waiting(row.call, row.tool, row.expires_at, json.dumps(row.input, ensure_ascii=False) if readable else None)
        for row in rows
    ]


def answer(model_admin: Any, request: HttpRequest, generation: Generation) -> None:
    """Decide on the call that a form names, record it, and tell the user what came of it."""
    call, decision = request.POST.get("call", ""), request.POST.get("decision", "")
    if decision not in DECISIONS:
        model_admin.message_user(request, _t("There was nothing to do."), messages.WARNING)
        return
    serving_engine(request)  # goes on with what is decided here
    try:
        decide(generation.pk, call, decision, request.user)
    except LLMStreamError as error:
        model_admin.message_user(request, error.message, messages.ERROR)
        return
    done = str(DECISIONS[decision][1]) % call
    record(request, generation, done)
    model_admin.message_user(request, done, messages.SUCCESS)
