"""What an operator does to generations: the same functions as for those who chat, one generation at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from ..commands import begin
from ..exceptions import LLMStreamError
from ..generations import endings, prompts
from ..generations.queries import get_generation
from ..models import Generation
from ..serving import serving_engine

#: Failures that are told one by one.
_FAULTS = 5


@dataclass(frozen=True, slots=True)
class Operation:
    """What can be done to generations in some statuses, to ``at_once`` of them in one request.

    ``act`` returns whether it changed anything, and raises an ``LLMStreamError`` when it cannot be done.
    """

    name: str
    label: Any
    done: Any
    statuses: tuple[str, ...]
    at_once: int
    act: Callable[[HttpRequest, Generation], bool]
    lapsed: bool = False

    def applies(self, generation: Generation) -> bool:
        """Whether it can be done to a generation as it stands."""
        lease = generation.lease_expires_at
        lapsed = lease is not None and lease < timezone.now()
        return generation.status in self.statuses and (lapsed or not self.lapsed)


def operate(model_admin: Any, request: HttpRequest, operation: Operation, generations: QuerySet[Generation]) -> None:
    """Do it to each that it applies to, record it, and tell the user what came of it."""
    # In the order in which the log's writer locks conversations.
    fitting = generations.filter(status__in=operation.statuses).order_by("conversation_id", "pk")
    pks = list(fitting.values_list("pk", flat=True)[: operation.at_once + 1])
    changed, faults = 0, []
    for pk in pks[: operation.at_once]:
        try:
            found = get_generation(pk)
            if operation.applies(found) and operation.act(request, found):
                changed += 1
                record(request, found, str(operation.label))
        except LLMStreamError as error:
            faults.append(f"{pk}: {error.message}")
    _tell(model_admin, request, operation, changed, faults)
    if len(pks) > operation.at_once:
        text = _t("There are more: only %d are taken on at once.") % operation.at_once
        model_admin.message_user(request, text, messages.WARNING)


def _tell(model_admin: Any, request: HttpRequest, operation: Operation, changed: int, faults: Sequence[str]) -> None:
    if changed:
        model_admin.message_user(request, operation.done % changed, messages.SUCCESS)
    elif not faults:
        model_admin.message_user(request, _t("There was nothing to do."), messages.WARNING)
    for fault in faults[:_FAULTS]:
        model_admin.message_user(request, fault, messages.ERROR)
    if len(faults) > _FAULTS:
        model_admin.message_user(request, _t("And %d more.") % (len(faults) - _FAULTS), messages.ERROR)


def record(request: HttpRequest, generation: Generation, done: str) -> None:
    """Tell the admin's history what a user has done to a generation."""
    LogEntry(
        user_id=request.user.pk,  # type: ignore[misc]
        content_type=ContentType.objects.get_for_model(Generation),
        object_id=str(generation.pk),
        object_repr=str(generation)[:200],
        action_flag=CHANGE,
        change_message=done,
    ).save(force_insert=True)


def _stop(request: HttpRequest, generation: Generation) -> bool:
    return endings.stop(generation.pk).status == Generation.Status.STOPPED


def _retry(request: HttpRequest, generation: Generation) -> bool:
    begin(serving_engine(request), partial(prompts.retry, generation.pk))
    return True


def _settle(request: HttpRequest, generation: Generation) -> bool:
    endings.settle(generation.conversation_id)
    return get_generation(generation.pk).status == Generation.Status.INTERRUPTED


_OPERATIONS = (
    Operation("stop", _("Stop"), _("Stopped: %d."), Generation.ACTIVE, 1_000, _stop),
    # Each is a call of a model.
    Operation("retry", _("Retry"), _("Begun anew: %d."), Generation.RETRYABLE, 100, _retry),
    Operation(
        "settle",
        _("Settle as interrupted"),
        _("Settled: %d."),
        (Generation.Status.RUNNING,),
        1_000,
        _settle,
        lapsed=True,
    ),
)
OPERATIONS: Final = {operation.name: operation for operation in _OPERATIONS}
