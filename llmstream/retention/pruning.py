"""Pruning: what a site no longer keeps is removed, one conversation a transaction.

It may break off anywhere, and run on several hosts at once: whether something is still to be pruned is asked again
under the lock of each conversation. What runs, waits, or is under a legal hold stays.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from ..conf import RETENTION_ACTIONS, get_settings
from ..exceptions import NotFound
from ..log.compaction import compact
from ..log.rows import database_alias
from ..log.transaction import locked
from ..models import Conversation, Event, Generation, Message
from .compacting import uncompacted
from .policy import Policy
from .tombstones import strip

logger = logging.getLogger("llmstream.retention")


@dataclass(frozen=True, slots=True)
class Due:
    """What pruning would take, and what it would pass over: of the conversations due, those held and those at work."""

    conversations: int
    messages: int
    events: int
    held: int
    at_work: int


class Pruning:
    """One site's or one selection's pruning: ``conversations`` as far as ``policy`` no longer keeps them at ``now``."""

    def __init__(self, policy: Policy, conversations: QuerySet[Conversation] | None = None) -> None:
        self.now: datetime = timezone.now()
        self._action = get_settings().retention_action
        if self._action not in RETENTION_ACTIONS:
            raise ImproperlyConfigured(f"LLMSTREAM RETENTION_ACTION must be one of: {', '.join(RETENTION_ACTIONS)}.")
        self._policy = policy
        if conversations is None:
            conversations = Conversation.objects.using(database_alias()).all()
        self._among = conversations.order_by()

    def due(self) -> Due:
        """Count what is due; reads as much as it counts."""
        due = self._due(self._among)
        free = self._free(due)
        held = due.filter(held=True).count()
        return Due(
            conversations=free.count(),
            messages=Message.objects.using(database_alias()).filter(conversation__in=free.values("pk")).count(),
            events=Event.objects.using(database_alias()).filter(conversation__in=free.values("pk")).count(),
            held=held,
            at_work=due.filter(held=False).count() - free.count(),
        )

    def run(self, batch: int) -> Iterator[tuple[int, bool]]:
        """Prune; yield the key of each conversation, and whether it is done or has failed and stays for next time."""
        last = 0
        pks = self._free(self._due(self._among)).order_by("pk").values_list("pk", flat=True)
        while page := list(pks.filter(pk__gt=last)[:batch]):
            last = page[-1]
            # Several hosts that begin at once seldom meet.
            for pk in random.sample(page, len(page)):
                if (done := self._prune(pk)) is not None:
                    yield pk, done

    def _prune(self, pk: int) -> bool | None:
        try:
            return self._remove(pk)
        except NotFound:
            return None
        except DatabaseError:
            logger.exception("Conversation %s could not be pruned", pk)
            return False

    def _remove(self, pk: int) -> bool | None:
        # First in small steps what would make the one transaction long.
        one = Conversation.objects.using(database_alias()).filter(pk=pk)
        for generation in uncompacted(self.now, one):
            compact(generation)
        with locked(pk) as log:
            if not self._free(self._due(one)).exists():
                return None
            if self._action == "strip":
                strip(log)
            else:
                log.conversation.delete()
        return True

    def _due(self, conversations: QuerySet[Conversation]) -> QuerySet[Conversation]:
        due = self._policy(conversations, self.now)
        if self._action == "strip":
            # Those that were stripped have no events left.
            due = due.filter(Exists(Event.objects.filter(conversation=OuterRef("pk"))))
        return due

    def _free(self, due: QuerySet[Conversation]) -> QuerySet[Conversation]:
        active = Generation.objects.filter(conversation=OuterRef("pk"), status__in=Generation.ACTIVE)
        return due.filter(~Exists(active), held=False)
