"""Compaction: a generation that has ended keeps one row for each part of its answer instead of one for each delta.

What is stored is what a replay would have joined anyway: a row at the position of the last delta, with the text of all,
that says from which position on it stands for them. Whoever has read nothing of it gets the same text as before, and
whoever has read part of it is told to begin anew; see ``Row.is_torn``. Of the progress reports of a tool call the
newest stays: each replaces those before it.

It works in steps, each a short transaction under the conversation's row lock that leaves the log as true as before. So
it can break off anywhere, and any number of processes may do it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import monotonic, sleep

import orjson
from django.db.models import QuerySet
from django.utils import timezone

from ..events import PART_KINDS, TOOL_PROGRESS
from ..exceptions import NotFound
from ..models import Event, Generation
from .reading import read_types
from .rows import Row, coalesce, database_alias
from .transaction import locked

_TYPES = (*PART_KINDS, TOOL_PROGRESS)
_ROWS_PER_STEP = 200


def compact(generation: Generation, pause: Callable[[float], object] = sleep) -> int:
    """Compact a generation that has ended; return how many rows are gone, 0 when its conversation is.

    Rests between two steps for as long as the last one took, so that others get their turn: ``pause`` is called with
    seconds.
    """
    if generation.end_seq is None:
        raise ValueError("A generation that has not ended cannot be compacted.")
    try:
        steps, removed = _walk(generation, pause)
        if steps > 1:
            # Each step has left a row; these overlap, so that those of one part meet.
            removed += _walk(generation, pause, overlap=1)[1]
    except NotFound:
        return 0
    Generation.objects.using(database_alias()).filter(pk=generation.pk).update(compacted_at=timezone.now())
    return removed


def _walk(generation: Generation, pause: Callable[[float], object], overlap: int = 0) -> tuple[int, int]:
    """Go through a generation's rows; return the number of steps and of rows that are gone."""
    after, steps, removed, more = generation.first_seq, 0, 0, True
    took = 0.0
    while more:
        if steps:
            pause(took)
        began = monotonic()
        with locked(generation.conversation_id):
            rows = read_types(generation.conversation_id, generation.pk, _TYPES, after, _ROWS_PER_STEP)
            removed += _shrink(generation, rows)
        took = monotonic() - began
        steps, more = steps + 1, len(rows) == _ROWS_PER_STEP
        after = rows[-1].seq - overlap if rows else after
    return steps, removed


def _shrink(generation: Generation, rows: Sequence[Row]) -> int:
    events = Event.objects.using(database_alias()).filter(conversation=generation.conversation_id)
    removed = _delete(events.filter(seq__in=_superseded(rows)))
    known = {row.seq: row for row in rows}
    for row in coalesce(row for row in rows if row.type in PART_KINDS):
        if row.first is not None and known[row.seq].first != row.first:
            joined = events.filter(generation=generation.pk, type=row.type, seq__gte=row.first, seq__lt=row.seq)
            removed += _delete(joined)
            events.filter(seq=row.seq).update(data=orjson.loads(row.data), first_seq=row.first)
    return removed


def _superseded(rows: Iterable[Row]) -> list[int]:
    newest: dict[str, int] = {}
    gone = []
    for row in rows:
        if row.type == TOOL_PROGRESS:
            call = orjson.loads(row.data)["call"]
            if call in newest:
                gone.append(newest[call])
            newest[call] = row.seq
    return gone


def _delete(events: QuerySet[Event]) -> int:
    # None where there is nothing to look for.
    return events._raw_delete(events.db) or 0
