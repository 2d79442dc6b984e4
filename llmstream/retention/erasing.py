"""Erasing one person: what the user owns is deleted, what the user has said elsewhere is replaced by tombstones.

Each conversation is a transaction of its own, so it may break off and be begun again. A user who can still sign in may
write on meanwhile: deactivate the account first.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from ..events import STEER
from ..exceptions import NotFound
from ..generations.endings import check_not_held, stop
from ..generations.queries import active_generations
from ..log.rows import database_alias
from ..log.transaction import LogTransaction, locked
from ..models import (
    Attachment,
    Conversation,
    Event,
    Feedback,
    Generation,
    Membership,
    Message,
    Presence,
    ToolCall,
    UsageRecord,
)
from .tombstones import redact

_USAGE_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Erasure:
    """How much of a person there is, or was erased.

    ``conversations`` are those that the user owns, with all that others have said in them; ``shared`` those of others
    in which something of the user is, and ``messages`` the user's messages there. The rest are rows.
    """

    conversations: int
    shared: int
    messages: int
    memberships: int
    presences: int
    usage_records: int
    feedback: int


def find(user: Any) -> Erasure:
    """Count what ``erase`` would take."""
    shared = _shared(user)
    return Erasure(
        conversations=len(_owned(user)),
        shared=len(shared),
        messages=Message.objects.using(database_alias()).filter(conversation__in=shared, author=user).count(),
        memberships=_rows(Membership, user).count(),
        presences=_rows(Presence, user).count(),
        usage_records=_rows(UsageRecord, user).count(),
        feedback=_rows(Feedback, user).count(),
    )


def held(user: Any) -> int:
    """Return how many of the conversations that ``erase`` would touch are under a legal hold."""
    return Conversation.objects.using(database_alias()).filter(pk__in=_touched(user), held=True).count()


def erase(user: Any, *, override_hold: bool = False) -> Erasure:
    """Erase a user from everything that this app stores, but for the account itself; return how much that was.

    What runs in a conversation that is touched is stopped first. Raises ConversationHeld before anything is changed
    when one of them is under a legal hold, unless ``override_hold`` is set. For sites' own deletion of accounts: call
    it before ``user.delete()``.
    """
    owned, shared, messages = _owned(user), _shared(user), 0
    if not override_hold:
        check_not_held(_touched(user))
    # First the right to come back to what is not theirs.
    memberships, presences, feedback = (_rows(model, user).delete()[0] for model in (Membership, Presence, Feedback))
    for pk in shared:
        with suppress(NotFound):
            messages += _at_rest(pk, override_hold, lambda log: redact(log, user.pk))
    for pk in owned:
        with suppress(NotFound):
            _at_rest(pk, override_hold, lambda log: log.conversation.delete())
    # What was uploaded elsewhere and never sent.
    Attachment.objects.using(database_alias()).filter(uploader=user).delete()
    return Erasure(len(owned), len(shared), messages, memberships, presences, _anonymise_usage(user), feedback)


def _at_rest(conversation: int, override_hold: bool, work: Callable[[LogTransaction], Any]) -> Any:
    """Do something under the lock of a conversation in which nothing runs; what does is stopped."""
    found = Conversation(pk=conversation)
    while True:
        for generation in active_generations(found):
            stop(generation.pk)
        with locked(conversation) as log:
            if not override_hold:
                check_not_held([conversation])
            if not active_generations(found):
                return work(log)


def _anonymise_usage(user: Any) -> int:
    changed = 0
    while pks := list(_rows(UsageRecord, user).values_list("pk", flat=True)[:_USAGE_ROWS]):
        changed += UsageRecord.objects.using(database_alias()).filter(pk__in=pks).update(user=None, account="")
    return changed


def _owned(user: Any) -> list[int]:
    found = Conversation.objects.using(database_alias()).filter(owner=user)
    return list(found.order_by("pk").values_list("pk", flat=True))


def _shared(user: Any) -> list[int]:
    """Return the conversations of others in which the user has said or decided something."""
    alias = database_alias()
    steered = Generation.objects.using(alias).filter(steers__gt=0).values("conversation")
    steers = Event.objects.using(alias).filter(conversation__in=steered, type=STEER, data__author__id=str(user.pk))
    decided = ToolCall.objects.using(alias).filter(decided_by=user)
    said = Message.objects.using(alias).filter(author=user)
    found = Conversation.objects.using(alias).filter(
        Q(pk__in=said.values("conversation"))
        | Q(pk__in=decided.values("generation__conversation"))
        | Q(pk__in=steers.values("conversation"))
    )
    return list(found.exclude(owner=user).order_by("pk").values_list("pk", flat=True))


def _touched(user: Any) -> set[int]:
    rated = _rows(Feedback, user).values_list("message__conversation", flat=True)
    return {*_owned(user), *_shared(user), *rated}


def _rows(model: type[Any], user: Any) -> QuerySet[Any]:
    rows: QuerySet[Any] = model._default_manager.using(database_alias()).filter(user=user).order_by()
    return rows
