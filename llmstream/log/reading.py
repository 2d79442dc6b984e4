"""Reading the log by position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.db import connections

from ..models import Conversation, Event
from .rows import Row, coalesce, database_alias

_EVENT = Event._meta.db_table
_ROWS_PER_PAGE = 2_000


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
    stored = read_rows(conversation, after, limit=_ROWS_PER_PAGE)
    size = 0
    taken = 0
    for row in stored:
        size += len(row.data)
        if taken and size > max_bytes:
            break
        taken += 1
    page = stored[:taken]
    return Page(coalesce(page), page[-1].seq if page else after, taken < len(stored) or taken == _ROWS_PER_PAGE)


def read_heads(conversations: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Return ``{conversation: (head, epoch)}``; a deleted conversation is left out."""
    alias = database_alias()
    rows = Conversation.objects.using(alias).filter(pk__in=list(conversations)).values_list("pk", "head", "epoch")
    return {pk: (head, epoch) for pk, head, epoch in rows}
