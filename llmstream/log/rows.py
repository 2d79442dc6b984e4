"""What goes into the log and what comes out of it, without model instances."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson
from django.db import router

from ..events import PART_KINDS, WireEvent, encode
from ..models import Event


class Draft(NamedTuple):
    """An event that has no position yet."""

    type: str
    generation: int | None
    data: bytes

    @classmethod
    def of(cls, event: WireEvent, generation: int | None = None) -> Draft:
        """Encode a wire event once, for the database and for every reader."""
        return cls(event["type"], generation, encode(event))


class Row(NamedTuple):
    """An event at its position; ``data`` is the encoded wire object.

    ``first`` is set for a row that stands for several deltas: the position of the earliest of them.
    """

    seq: int
    type: str
    generation: int | None
    data: bytes
    first: int | None = None

    def is_torn(self, after: int) -> bool:
        """Whether somebody who has read up to ``after`` has part of this row already, and cannot tell which."""
        return self.first is not None and self.first <= after < self.seq


class Batch(NamedTuple):
    """Consecutive rows of one conversation, committed together."""

    conversation: int
    epoch: int
    rows: Sequence[Row]


def database_alias() -> str:
    """Return the database that holds the log."""
    return router.db_for_write(Event)


def coalesce(rows: Iterable[Row]) -> list[Row]:
    """Join neighbouring deltas of one message part into one row that bears the last position.

    The text is the same and a client may resume from any position in between.
    """
    joined: list[Row] = []
    run: list[tuple[Row, WireEvent]] = []
    key: tuple[object, ...] | None = None
    for row in rows:
        event: WireEvent | None = orjson.loads(row.data) if row.type in PART_KINDS else None
        row_key = (row.type, event["message"], event["part"]) if event else None
        if run and row_key != key:
            joined.append(_join(run))
            run = []
        if event is None:
            joined.append(row)
        else:
            run.append((row, event))
        key = row_key
    if run:
        joined.append(_join(run))
    return joined


def _join(run: Sequence[tuple[Row, WireEvent]]) -> Row:
    (first, _), (last, event) = run[0], run[-1]
    if len(run) == 1:
        return last
    data = encode({**event, "delta": "".join(event["delta"] for _, event in run)})
    return last._replace(data=data, first=first.first or first.seq)
