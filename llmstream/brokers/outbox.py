"""What waits to be told to other processes: bounded, the newest kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from ..events import MESSAGE_END
from ..log.rows import Batch, Row
from .base import Ephemeral, Head

#: Rows of a conversation travel in a hint up to this size; beyond it others are told how far the log goes, and read it.
HINT_BYTES = 32_768
#: Bytes of rows and number of conversations that may wait.
OUTBOX_BYTES = 4_194_304
OUTBOX_HINTS = 10_000
OUTBOX_EPHEMERALS = 1_000


class Hint:
    """The news of one conversation: consecutive rows up to ``head``, or ``head`` alone when ``rows`` is empty."""

    __slots__ = ("conversation", "ended", "epoch", "head", "rows", "size")

    def __init__(self, batch: Batch) -> None:
        self.conversation, self.epoch, rows = batch
        self.head = rows[-1].seq
        self.rows = list(rows)
        self.size = _size(rows)
        self.ended = _ended(rows)

    def extend(self, batch: Batch) -> None:
        """Add a later batch of the same conversation and epoch."""
        follows = self.rows and batch.rows[0].seq == self.head + 1
        self.head = max(self.head, batch.rows[-1].seq)
        self.ended += _ended(batch.rows)
        if follows and self.size + (more := _size(batch.rows)) <= HINT_BYTES:
            self.rows.extend(batch.rows)
            self.size += more
        else:
            self.shorten()

    def shorten(self) -> None:
        """Keep the head alone."""
        self.rows, self.size = [], 0

    def pack(self) -> list[Any]:
        """Return what any serializer of a channel layer takes; rows are flat and without their positions."""
        cells = [cell for row in self.rows for cell in (row.type, row.generation, row.data.decode())]
        return [self.conversation, self.epoch, self.head, cells, [] if cells else self.ended]


def unpack(packed: list[Any]) -> Batch | Head:
    """Return what ``Hint.pack`` was made of."""
    conversation, epoch, head, cells, ended = packed
    if not cells:
        return Head(conversation, epoch, head, ended)
    first = head + 1 - len(cells) // 3
    triples = zip(cells[::3], cells[1::3], cells[2::3], strict=True)
    rows = [Row(seq, kind, generation, text.encode()) for seq, (kind, generation, text) in enumerate(triples, first)]
    return Batch(conversation, epoch, rows)


class Outbox:
    """One hint per conversation, which grows while it waits, and the newest ephemeral messages."""

    def __init__(self) -> None:
        self._hints: dict[int, Hint] = {}
        self._size = 0
        self._ephemerals: deque[tuple[int, Ephemeral]] = deque(maxlen=OUTBOX_EPHEMERALS)

    def __bool__(self) -> bool:
        return bool(self._hints or self._ephemerals)

    def add(self, batch: Batch) -> None:
        """Add committed rows; over the bounds, the oldest hints lose their rows and at last go altogether."""
        hint = self._hints.get(batch.conversation)
        before = hint.size if hint else 0
        if hint is None or batch.epoch > hint.epoch:
            hint = self._hints[batch.conversation] = Hint(batch)
            if hint.size > HINT_BYTES:
                hint.shorten()
        elif batch.epoch == hint.epoch:
            hint.extend(batch)
        self._size += hint.size - before
        if self._size > OUTBOX_BYTES:
            self._shorten()
        self._drop()

    def say(self, conversation: int, message: Ephemeral) -> None:
        """Add an ephemeral message; over the bound, the oldest goes."""
        self._ephemerals.append((conversation, message))

    def take(self) -> tuple[list[Hint], list[tuple[int, Ephemeral]]]:
        """Empty the outbox and return what was in it."""
        hints, ephemerals = list(self._hints.values()), list(self._ephemerals)
        self._hints, self._size = {}, 0
        self._ephemerals.clear()
        return hints, ephemerals

    def put_back(self, hints: Iterable[Hint]) -> None:
        """Take hints back that could not be sent, without their rows: by then it is quicker to read them."""
        newer, self._hints = self._hints, {}
        for hint in hints:
            if (later := newer.get(hint.conversation)) and later.epoch == hint.epoch:
                later.ended = hint.ended + later.ended
            else:
                hint.shorten()
                self._hints[hint.conversation] = hint
        self._hints |= newer
        self._drop()

    def _drop(self) -> None:
        while len(self._hints) > OUTBOX_HINTS:
            self._size -= self._hints.pop(next(iter(self._hints))).size

    def _shorten(self) -> None:
        for hint in self._hints.values():
            if self._size <= OUTBOX_BYTES // 2:
                break
            self._size -= hint.size
            hint.shorten()


def _size(rows: Iterable[Row]) -> int:
    return sum(len(row.data) for row in rows)


def _ended(rows: Iterable[Row]) -> list[int]:
    return [row.generation for row in rows if row.type == MESSAGE_END and row.generation is not None]
