"""Which answers are to be compacted, and the compaction of all of them."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import DatabaseError
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from ..conf import get_settings
from ..events import PART_KINDS
from ..log.compaction import compact
from ..log.rows import database_alias
from ..models import Conversation, Event, Generation

logger = logging.getLogger("llmstream.retention")

#: A writer that heard nothing of its last commit tries it again, and looks for what it has stored.
SETTLED = timedelta(minutes=1)


def uncompacted(now: datetime, conversations: QuerySet[Conversation] | None = None) -> QuerySet[Generation]:
    """Return the answers that have ended at least ``COMPACT_AFTER`` ago and are not compacted; none when that is 0.

    With ``conversations``, those of them that have ended at least a minute ago, whatever the setting says. Never those
    of a conversation under a legal hold.
    """
    found = Generation.objects.using(database_alias()).filter(end_seq__isnull=False, compacted_at=None)
    found = found.filter(conversation__held=False)
    if conversations is not None:
        return found.filter(ended_at__lte=now - SETTLED, conversation__in=conversations.order_by().values("pk"))
    grace = get_settings().compact_after
    return found.filter(ended_at__lte=now - max(SETTLED, timedelta(seconds=grace))) if grace else found.none()


def compact_all(found: QuerySet[Generation], batch: int) -> Iterator[int | None]:
    """Compact answers; yield for each how many rows are gone, or None when it failed and stays for the next time."""
    last = 0
    while page := list(found.filter(pk__gt=last).order_by("pk")[:batch]):
        last = page[-1].pk
        # Several hosts that begin at once seldom meet.
        for generation in random.sample(page, len(page)):
            # Asked again: it may be another's by now, or under a hold.
            if found.filter(pk=generation.pk).exists():
                yield _compact(generation)


def _compact(generation: Generation) -> int | None:
    try:
        return compact(generation)
    except DatabaseError:
        logger.exception("Generation %s could not be compacted", generation.pk)
        return None


def count_deltas(found: QuerySet[Generation]) -> int:
    """Return how many delta rows the answers have."""
    own = Q(conversation=OuterRef("conversation"), generation=OuterRef("pk"))
    place = Q(seq__gt=OuterRef("first_seq"), seq__lt=OuterRef("end_seq"))
    deltas = Event.objects.filter(own & place, type__in=PART_KINDS).order_by().values("generation")
    counted = found.annotate(deltas=Coalesce(Subquery(deltas.annotate(number=Count("pk")).values("number")), 0))
    return sum(counted.values_list("deltas", flat=True))
