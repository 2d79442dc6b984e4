"""One conversation's transaction: its row lock, its next positions, its events.

Everything that must agree with the log is written inside ``locked``. Readers learn of the events when it has committed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from ..database import write_transaction
from ..events import WireEvent
from ..exceptions import NotFound
from ..models import Conversation
from .rows import Batch, Draft, Row, database_alias
from .sql import flush_sql

#: Sent in the committing thread, after the commit, with ``batches``: a list of ``Batch``. What feeds the readers.
events_committed = Signal()


class LogTransaction:
    """A conversation whose row is locked until the transaction ends."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.rows: list[Row] = []

    @property
    def next_seq(self) -> int:
        """The position that the next event gets."""
        return self.conversation.head + 1

    def append(self, event: WireEvent, generation: int | None = None) -> int:
        """Give the event its position and return it; it is stored when the transaction ends."""
        seq = self.next_seq
        self.rows.append(Row(seq, *Draft.of(event, generation)))
        self.conversation.head = seq
        return seq


@contextmanager
def locked(conversation: int) -> Iterator[LogTransaction]:
    """Open a transaction that holds the conversation's row lock; raises NotFound when it is gone."""
    alias = database_alias()
    with write_transaction(alias):
        sql = flush_sql(alias)
        row = sql.lock(conversation)
        if row is None:
            raise NotFound
        log = LogTransaction(row)
        yield log
        if not log.rows:
            return
        now = timezone.now()
        sql.insert({row.pk: log.rows}, now)
        sql.move(row, now)
        batch = Batch(row.pk, row.epoch, log.rows)
        transaction.on_commit(partial(events_committed.send_robust, None, batches=[batch]), using=alias)
