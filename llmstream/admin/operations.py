"""What an operator does to generations: the same functions as for those who chat, one generation at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.handlers.asgi import ASGIRequest
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from ..commands import begin
from ..engine import Engine, background_engine, get_engine
from ..exceptions import LLMStreamError, NotFound
from ..generations import endings, prompts
from ..generations.queries import get_generation
from ..log.rows import database_alias
from ..models import Generation

#: Generations that one action takes on.
AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Operation:
    """``act`` returns whether it changed anything, and raises an ``LLMStreamError`` when it cannot be done."""

    name: str
    label: Any
    done: Any
    applies: Callable[[Generation], bool]
    act: Callable[[HttpRequest, Generation], bool]


def operate(model_admin: Any, request: HttpRequest, operation: Operation, pks: Iterable[int]) -> None:
    """Do it to each, record it, and tell the user what came of it."""
    changed, faults, untouched = 0, set(), 0
    for pk in islice(pks, AT_ONCE):
        try:
            found = get_generation(pk)
            if not (operation.applies(found) and operation.act(request, found)):
                untouched += 1
                continue
        except LLMStreamError as error:
            faults.add(
                f"{pk}: {error.message}" if isinstance(error, NotFound) else f"{found.public_id}: {error.message}"
            )
            continue
        changed += 1
        _record(request, found, operation)
    if changed:
        model_admin.message_user(request, operation.done % changed, messages.SUCCESS)
    if untouched:
        model_admin.message_user(request, _t("Left as they were: %d.") % untouched, messages.WARNING)
    for fault in sorted(faults)[:5]:
        model_admin.message_user(request, fault, messages.ERROR)


def _record(request: HttpRequest, generation: Generation, operation: Operation) -> None:
    LogEntry(
        user_id=request.user.pk,  # type: ignore[misc]
        content_type=ContentType.objects.get_for_model(Generation),
        object_id=str(generation.pk),
        object_repr=str(generation)[:200],
        action_flag=CHANGE,
        change_message=str(operation.label),
    ).save(force_insert=True)


def _stop(request: HttpRequest, generation: Generation) -> bool:
    return endings.stop(generation.pk).status == Generation.Status.STOPPED


def _retry(request: HttpRequest, generation: Generation) -> bool:
    sent = prompts.retry(generation.pk)
    # On a site with ATOMIC_REQUESTS nobody else sees the new rows before the request is over.
    transaction.on_commit(partial(begin, _serving_engine(request), sent), using=database_alias())
    return True


def _settle(request: HttpRequest, generation: Generation) -> bool:
    endings.settle(generation.conversation_id)
    return get_generation(generation.pk).status == Generation.Status.INTERRUPTED


def _lapsed(generation: Generation) -> bool:
    lease = generation.lease_expires_at
    return generation.status == Generation.Status.RUNNING and lease is not None and lease < timezone.now()


def _serving_engine(request: HttpRequest) -> Engine:
    """Return the engine of the server's loop, or under WSGI the one that has a loop of its own."""
    return async_to_sync(_engine_here)() if isinstance(request, ASGIRequest) else background_engine()


async def _engine_here() -> Engine:
    return get_engine()


_OPERATIONS = (
    Operation("stop", _("Stop"), _("Stopped: %d."), lambda generation: generation.status in Generation.ACTIVE, _stop),
    Operation(
        "retry", _("Retry"), _("Begun anew: %d."), lambda generation: generation.status in Generation.RETRYABLE, _retry
    ),
    Operation("settle", _("Settle as interrupted"), _("Settled: %d."), _lapsed, _settle),
)
OPERATIONS: Final = {operation.name: operation for operation in _OPERATIONS}
