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
    run: list[Row] = []
    key: tuple[object, ...] | None = None
    for row in rows:
        row_key = _delta_key(row)
        if run and row_key != key:
            joined.append(_join(run))
            run = []
        if row_key is None:
            joined.append(row)
        else:
            run.append(row)
        key = row_key
    if run:
        joined.append(_join(run))
    return joined


def _delta_key(row: Row) -> tuple[object, ...] | None:
    if row.type not in PART_KINDS:
        return None
    event = orjson.loads(row.data)
    return row.type, event["message"], event["part"]


def _join(run: list[Row]) -> Row:
    if len(run) == 1:
        return run[0]
    events = [orjson.loads(row.data) for row in run]
    data = encode({**events[-1], "delta": "".join(event["delta"] for event in events)})
    return run[-1]._replace(data=data, first=run[0].first or run[0].seq)
