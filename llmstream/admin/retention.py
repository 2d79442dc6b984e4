"""Compaction and pruning of selected conversations, after a page that says what will be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from ..models import Conversation
from ..retention.compacting import compact_all, count_deltas, uncompacted
from ..retention.policy import site_policy
from ..retention.pruning import Pruning

#: Conversations that one request takes on.
AT_ONCE: Final = 100
_BATCH = 50

Figures = Sequence[tuple[Any, int]]


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What can be done to selected conversations: ``foresee`` counts it, ``act`` does it and says what was done."""

    name: str
    label: Any
    permission: str
    foresee: Callable[[QuerySet[Conversation]], Figures]
    act: Callable[[HttpRequest, QuerySet[Conversation]], str]


def upkeep_action(upkeep: Upkeep) -> Any:
    """Return the action for a list of conversations."""

    @admin.action(description=upkeep.label, permissions=[upkeep.permission])
    def act(model_admin: Any, request: HttpRequest, queryset: QuerySet[Conversation]) -> HttpResponseBase | None:
        pks = list(queryset.order_by("pk").values_list("pk", flat=True)[: AT_ONCE + 1])
        if len(pks) > AT_ONCE:
            model_admin.message_user(request, _t("Select %d conversations at most.") % AT_ONCE, messages.ERROR)
            return None
        chosen = Conversation.objects.filter(pk__in=pks)
        if request.POST.get("confirmed"):
            model_admin.message_user(request, upkeep.act(request, chosen), messages.SUCCESS)
            return None
        context = {"figures": upkeep.foresee(chosen), "action": upkeep.name, "label": upkeep.label, "selected": pks}
        page: HttpResponseBase = model_admin.page(request, "conversation/upkeep.html", _t("Are you sure?"), context)
        return page

    act.__name__ = upkeep.name
    return act


def _foresee_compaction(conversations: QuerySet[Conversation]) -> Figures:
    found = uncompacted(timezone.now(), conversations)
    return (
        (_("answers to compact"), found.count()),
        (_("pieces of text in them"), count_deltas(found)),
        (_("conversations under a legal hold, which stay as they are"), conversations.filter(held=True).count()),
    )


def _compact(request: HttpRequest, conversations: QuerySet[Conversation]) -> str:
    found = uncompacted(timezone.now(), conversations)
    rows = dict(conversations.filter(pk__in=found.values("conversation")).values_list("pk", "title"))
    removed = [count for count in compact_all(found, _BATCH) if count is not None]
    _record(request, rows, CHANGE, _t("Compacted."))
    return _t("Compacted %(answers)d answers: %(rows)d rows fewer.") % {"answers": len(removed), "rows": sum(removed)}


def _foresee_pruning(conversations: QuerySet[Conversation]) -> Figures:
    due = Pruning(site_policy(), conversations).due()
    return (
        (_("conversations that the site's policy no longer keeps"), due.conversations),
        (_("messages in them"), due.messages),
        (_("events in them"), due.events),
        (_("due, but under a legal hold"), due.held),
        (_("due, but at work"), due.at_work),
    )


def _prune(request: HttpRequest, conversations: QuerySet[Conversation]) -> str:
    titles = dict(conversations.values_list("pk", "title"))
    done = [pk for pk, success in Pruning(site_policy(), conversations).run(_BATCH) if success]
    _record(request, {pk: titles[pk] for pk in done}, DELETION, _t("Pruned."))
    return _t("Pruned: %d.") % len(done)


def _record(request: HttpRequest, titles: dict[int, str], flag: int, how: str) -> None:
    kind = ContentType.objects.get_for_model(Conversation)
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=request.user.pk,  # type: ignore[misc]
            content_type=kind,
            object_id=str(pk),
            object_repr=(title or str(pk))[:200],
            action_flag=flag,
            change_message=how,
        )
        for pk, title in titles.items()
    )


COMPACT: Final = Upkeep("compact", _("Compact now"), "change", _foresee_compaction, _compact)
PRUNE: Final = Upkeep("prune", _("Prune"), "delete", _foresee_pruning, _prune)
