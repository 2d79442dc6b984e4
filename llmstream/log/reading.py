"""Reading the log by position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.db import connections

from ..models import Conversation, Event
from .rows import Row, coalesce, database_alias

_EVENT = Event._meta.db_table
_ROWS_PER_PAGE = 2_000
_ROWS_PER_READ = 100


class Page(NamedTuple):
    """Part of a replay: coalesced rows, the position after them, and whether more is stored already."""

    rows: Sequence[Row]
    seq: int
    more: bool


def read_rows(conversation: int, after: int, *, until: int | None = None, limit: int | None = None) -> list[Row]:
    """Return the stored rows with ``after < seq <= until``, oldest first, at most ``limit``."""
    sql = f"SELECT seq, type, generation_id, data FROM {_EVENT} WHERE conversation_id = %s AND seq > %s"  # noqa: S608
    params: list[int] = [conversation, after]
    if until is not None:
        sql += " AND seq <= %s"
        params.append(until)
    sql += " ORDER BY seq"
    if limit is not None:
        sql += " LIMIT %s"
        params.append(limit)
    with connections[database_alias()].cursor() as cursor:
        cursor.execute(sql, params)
        return [Row(seq, kind, generation, data.encode()) for seq, kind, generation, data in cursor.fetchall()]


def read_page(conversation: int, after: int, *, max_bytes: int) -> Page:
    """Return the next page of a replay, about ``max_bytes`` long; a single larger row is a page of its own."""
    page: list[Row] = []
    size, seq, more = 0, after, True
    while more and len(page) < _ROWS_PER_PAGE:
        # A few at a time: a row may be large, and what does not fit is read in vain.
        rows = read_rows(conversation, seq, limit=_ROWS_PER_READ)
        more = len(rows) == _ROWS_PER_READ
        for row in rows:
            size += len(row.data)
            if page and size > max_bytes:
                return Page(coalesce(page), seq, True)
            page.append(row)
            seq = row.seq
    return Page(coalesce(page), seq, more)


def read_heads(conversations: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Return ``{conversation: (head, epoch)}``; a deleted conversation is left out."""
    alias = database_alias()
    rows = Conversation.objects.using(alias).filter(pk__in=list(conversations)).values_list("pk", "head", "epoch")
    return {pk: (head, epoch) for pk, head, epoch in rows}
