"""Reading the log by position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.db import connections

from ..models import Conversation, Event
from .rows import Row, coalesce, database_alias

_EVENT = Event._meta.db_table
_COLUMNS = "seq, type, generation_id, data, first_seq"
_ROWS_PER_PAGE = 2_000
#: Rows of a page's first read, as many times more in each further one at most, and the most in any.
_FIRST_READ = 8
_GROWTH = 10
_ROWS_PER_READ = 500


class Page(NamedTuple):
    """Part of a replay: coalesced rows, the position after them, and whether more is stored already.

    ``torn`` are the generations that cannot be read on from where the page begins: they have been compacted, and what
    was before and what was after that position is one row now.
    """

    rows: Sequence[Row]
    seq: int
    more: bool
    torn: frozenset[int] = frozenset()


def read_rows(conversation: int, after: int, *, until: int | None = None, limit: int | None = None) -> list[Row]:
    """Return the stored rows with ``after < seq <= until``, oldest first, at most ``limit``.

    A compacted row that stands for deltas on both sides of ``until`` is among them, with a ``seq`` that is beyond it.
    """
    sql = f"SELECT {_COLUMNS} FROM {_EVENT} WHERE conversation_id = %s AND seq > %s"  # noqa: S608
    params: list[int | str] = [conversation, after]
    if until is not None:
        sql += " AND (seq <= %s OR first_seq <= %s)"
        params += [until, until]
    sql += " ORDER BY seq"
    if limit is not None:
        sql += " LIMIT %s"
        params.append(limit)
    return _rows(sql, params)


def read_types(conversation: int, generation: int, types: Sequence[str], after: int, limit: int) -> list[Row]:
    """Return a generation's rows of some types with ``after < seq``, oldest first, at most ``limit``."""
    marks = ", ".join(["%s"] * len(types))
    sql = (
        f"SELECT {_COLUMNS} FROM {_EVENT} WHERE conversation_id = %s AND seq > %s"  # noqa: S608
        f" AND generation_id = %s AND type IN ({marks}) ORDER BY seq LIMIT %s"
    )
    return _rows(sql, [conversation, after, generation, *types, limit])


def _rows(sql: str, params: Sequence[int | str]) -> list[Row]:
    with connections[database_alias()].cursor() as cursor:
        cursor.execute(sql, params)
        return [
            Row(seq, kind, generation, data.encode(), first) for seq, kind, generation, data, first in cursor.fetchall()
        ]


def read_page(conversation: int, after: int, *, max_bytes: int) -> Page:
    """Return the next page of a replay, about ``max_bytes`` long; a single larger row is a page of its own."""
    page: list[Row] = []
    torn: set[int] = set()
    size, seq, limit = 0, after, min(_FIRST_READ, _ROWS_PER_READ)
    while len(page) < _ROWS_PER_PAGE:
        rows = read_rows(conversation, seq, limit=limit)
        # Compaction may go on between two reads, so each of them is looked at from where it began.
        torn |= {row.generation for row in rows if row.generation is not None and row.is_torn(seq)}
        for row in rows:
            size += len(row.data)
            if page and size > max_bytes:
                return Page(coalesce(page), seq, True, frozenset(torn))
            page.append(row)
            seq = row.seq
        if len(rows) < limit:
            return Page(coalesce(page), seq, False, frozenset(torn))
        limit = _next_limit(len(page), size, max_bytes)
    return Page(coalesce(page), seq, True, frozenset(torn))


def _next_limit(count: int, size: int, max_bytes: int) -> int:
    """Return how many rows to read next: as many as there is room for if they are like those before them.

    A row may be large, and what does not fit is read in vain, so that too few are better than too many.
    """
    fitting = (max_bytes - size) * count // max(size, 1) + 1
    return max(1, min(fitting, count * _GROWTH, _ROWS_PER_READ))


def read_heads(conversations: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Return ``{conversation: (head, epoch)}``; a deleted conversation is left out."""
    alias = database_alias()
    rows = Conversation.objects.using(alias).filter(pk__in=list(conversations)).values_list("pk", "head", "epoch")
    return {pk: (head, epoch) for pk, head, epoch in rows}
