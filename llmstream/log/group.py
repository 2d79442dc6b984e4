"""Group commit: what many generations wrote since the last flush, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeAlias

import orjson
from django.db.models import QuerySet
from django.utils import timezone

from ..database import write_transaction
from ..events import STEER
from ..models import Conversation, Event
from .rows import Batch, Draft, Row, database_alias
from .sql import Heads, ResponseCursor, flush_sql
from .transaction import events_committed


@dataclass(slots=True)
class Write:
    """What one generation adds: its drafts and, at its end, the ORM work that must agree with them.

    ``before`` is how many events its owners have stored already. ``apply`` runs in the transaction with the position
    of the last draft, after ``stores``, the ORM work that goes with other drafts. Each of them may refuse the write by
    raising ``WriteRefused``. ``cursor`` is how far the drafts have followed the service's response, if it can be taken
    up again.
    """

    conversation: int
    generation: int
    fence: int
    drafts: Sequence[Draft]
    before: int
    apply: Callable[[int], None] | None = None
    stores: Sequence[Callable[[], None]] = ()
    cursor: ResponseCursor | None = None

    @property
    def owner(self) -> Owner:
        """Who writes."""
        return self.generation, self.fence


#: A generation and the fence under which it was written.
Owner: TypeAlias = tuple[int, int]


class WriteRefused(Exception):
    """Raised in a flush: the writes of these owners must not be stored."""

    def __init__(self, owners: set[Owner]) -> None:
        super().__init__(owners)
        self.owners = owners


def commit(writes: Sequence[Write]) -> set[Owner]:
    """Commit the writes together and publish them; return the owners whose writes were refused.

    A write is refused when its generation has another owner, has ended, or is gone with its conversation, or when it
    refuses itself: nothing of it is stored. Database errors are raised, and then nothing at all is stored.
    """
    refused: set[Owner] = set()
    while writes:
        try:
            with write_transaction(database_alias()):
                batches = _store(writes)
        except WriteRefused as lost:
            refused |= lost.owners
            writes = [write for write in writes if write.owner not in refused]
        else:
            if batches:
                events_committed.send_robust(None, batches=batches)
            break
    return refused


def commit_again(writes: Sequence[Write]) -> set[Owner]:
    """Commit writes whose first try broke off: it may have been committed although no answer came back."""
    with write_transaction(database_alias()):
        # In one order for everybody, so that no two wait for each other.
        stored = {write.owner for write in sorted(writes, key=attrgetter("conversation")) if _is_stored(write)}
    return commit([write for write in writes if write.owner not in stored])


def _is_stored(write: Write) -> bool:
    if not write.drafts:
        return False  # A cursor is only overwritten by itself.
    alias = database_alias()
    Conversation.objects.using(alias).select_for_update().filter(pk=write.conversation).first()
    events = owner_events(write.conversation, write.generation)
    # Compared by content: whoever else ended the generation meanwhile has added events, too.
    found = events.order_by("seq").values_list("type", "data")[write.before : write.before + len(write.drafts)]
    return list(found) == [(draft.type, orjson.loads(draft.data)) for draft in write.drafts]


def owner_events(conversation: int, generation: int) -> QuerySet[Event]:
    """Return the events that a generation's owners have stored, but for those of ``steer``, which anybody may add."""
    events = Event.objects.using(database_alias()).filter(conversation=conversation, generation=generation)
    return events.exclude(type=STEER)


def _store(writes: Sequence[Write]) -> list[Batch]:
    sql = flush_sql(database_alias())
    counts: dict[int, int] = {}
    for write in writes:
        counts[write.conversation] = counts.get(write.conversation, 0) + len(write.drafts)
    heads, fences = sql.take(counts, [write.generation for write in writes])
    if lost := {
        write.owner
        for write in writes
        if write.conversation not in heads or fences.get(write.generation) != write.fence
    }:
        raise WriteRefused(lost)
    rows, ends = _position(writes, heads, counts)
    sql.insert(rows, timezone.now())
    if cursors := {write.generation: write.cursor for write in writes if write.cursor}:
        sql.follow(cursors)
    for write in writes:
        for store in write.stores:
            store()
    for apply, seq in ends:
        apply(seq)
    return [Batch(conversation, heads[conversation][1], batch) for conversation, batch in rows.items() if batch]


def _position(
    writes: Sequence[Write], heads: Heads, counts: dict[int, int]
) -> tuple[dict[int, list[Row]], list[tuple[Callable[[int], None], int]]]:
    rows: dict[int, list[Row]] = {}
    ends: list[tuple[Callable[[int], None], int]] = []
    for write in writes:
        batch = rows.setdefault(write.conversation, [])
        seq = heads[write.conversation][0] - counts[write.conversation] + len(batch)
        for draft in write.drafts:
            seq += 1
            batch.append(Row(seq, *draft))
        if write.apply:
            ends.append((write.apply, seq))
    return rows, ends
