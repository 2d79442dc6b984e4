"""Group commit: what many generations wrote since the last flush, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.utils import timezone

from ..database import write_transaction
from ..models import Conversation, Event
from .rows import Batch, Draft, Row, database_alias
from .sql import Heads, flush_sql
from .transaction import events_committed


@dataclass(slots=True)
class Write:
    """What one generation adds: its drafts and, at its end, the ORM work that must agree with them.

    ``before`` is how many events of the generation are stored already. ``apply`` runs in the transaction with the
    position of the last draft.
    """

    conversation: int
    generation: int
    fence: int
    drafts: Sequence[Draft]
    before: int
    apply: Callable[[int], None] | None = None


class _NotOwned(Exception):
    def __init__(self, generations: set[int]) -> None:
        self.generations = generations


def commit(writes: Sequence[Write]) -> set[int]:
    """Commit the writes together and publish them; return the generations whose writes were refused.

    A write is refused when its generation has another owner, has ended, or is gone with its conversation: nothing of
    it is stored. Database errors are raised, and then nothing at all is stored.
    """
    refused: set[int] = set()
    while writes:
        try:
            with write_transaction(database_alias()):
                batches = _store(writes)
        except _NotOwned as lost:
            refused |= lost.generations
            writes = [write for write in writes if write.generation not in refused]
        else:
            events_committed.send_robust(None, batches=batches)
            break
    return refused


def commit_again(writes: Sequence[Write]) -> set[int]:
    """Commit writes whose first try broke off: it may have been committed although no answer came back."""
    with write_transaction(database_alias()):
        stored = {write.generation for write in writes if _is_stored(write)}
    return commit([write for write in writes if write.generation not in stored])


def _is_stored(write: Write) -> bool:
    alias = database_alias()
    Conversation.objects.using(alias).select_for_update().filter(pk=write.conversation).first()
    events = Event.objects.using(alias).filter(conversation=write.conversation, generation=write.generation)
    return events.count() >= write.before + len(write.drafts)


def _store(writes: Sequence[Write]) -> list[Batch]:
    sql = flush_sql(database_alias())
    counts: dict[int, int] = {}
    for write in writes:
        counts[write.conversation] = counts.get(write.conversation, 0) + len(write.drafts)
    heads = sql.advance(counts)
    fences = sql.fences([write.generation for write in writes])
    if lost := {
        write.generation
        for write in writes
        if write.conversation not in heads or fences.get(write.generation) != write.fence
    }:
        raise _NotOwned(lost)
    rows, ends = _position(writes, heads, counts)
    sql.insert(rows, timezone.now())
    for apply, seq in ends:
        apply(seq)
    return [Batch(conversation, heads[conversation][1], batch) for conversation, batch in rows.items()]


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
