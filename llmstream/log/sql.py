"""The statements of a flush, as lean as each database allows.

``bulk_create`` costs about 23 us a row, these 3 to 5; both run on Django's own connection, in its transaction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from sqlite3 import sqlite_version_info
from typing import Any, NamedTuple, TypeAlias

import orjson
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import F

from ..models import Conversation, Event, Generation
from .rows import Row

#: conversation -> (new head, epoch)
Heads: TypeAlias = dict[int, tuple[int, int]]


class ResponseCursor(NamedTuple):
    """A response of a provider's service and a place in its events; both empty for none."""

    response_id: str
    cursor: str


_CONVERSATION = Conversation._meta.db_table
_GENERATION = Generation._meta.db_table
_EVENT = Event._meta.db_table
_COLUMNS = "conversation_id, seq, generation_id, type, data, created_at"
_LOCK_FIELDS = ("id", "public_id", "owner_id", "anonymous_id", "model", "head", "leaf", "epoch")
_LOCK = f"SELECT {', '.join(_LOCK_FIELDS)} FROM {_CONVERSATION} WHERE id = %s"  # noqa: S608
_MOVE = f"UPDATE {_CONVERSATION} SET head = %s, leaf = %s, updated_at = %s WHERE id = %s"  # noqa: S608

# SQLite's.
_ADVANCE_JSON = (
    f"UPDATE {_CONVERSATION} SET head = head + v.n FROM"  # noqa: S608
    " (SELECT value ->> 0 AS id, value ->> 1 AS n FROM json_each(%s)) AS v"
    f" WHERE {_CONVERSATION}.id = v.id RETURNING {_CONVERSATION}.id, head, epoch"
)
_FENCES_JSON = (
    f"SELECT id, fence FROM {_GENERATION}"  # noqa: S608
    " WHERE status = 'running' AND id IN (SELECT value FROM json_each(%s))"
)
_FOLLOW_ROW = f"UPDATE {_GENERATION} SET provider_response_id = %s, provider_cursor = %s WHERE id = %s"  # noqa: S608
_INSERT_ROW = f"INSERT INTO {_EVENT} ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)"  # noqa: S608

# PostgreSQL's; %b sends a parameter in binary form.
# Locked in one order for everybody, so that no two flushes wait for each other.
_ADVANCE = (
    f"WITH v AS (SELECT c.id, u.n FROM {_CONVERSATION} AS c"  # noqa: S608
    " JOIN unnest(%b::bigint[], %b::int[]) AS u (id, n) ON c.id = u.id ORDER BY c.id FOR UPDATE OF c)"
    f" UPDATE {_CONVERSATION} AS c SET head = c.head + v.n FROM v WHERE c.id = v.id"
    " RETURNING c.id, c.head, c.epoch"
)
# A join: an array that is a parameter of a prepared statement is searched from its start, for each running generation.
_FENCES = (
    f"SELECT g.id, g.fence FROM {_GENERATION} AS g JOIN unnest(%b::bigint[]) AS u (id) ON g.id = u.id"  # noqa: S608
    " WHERE g.status = 'running'"
)
_FOLLOW = (
    f"UPDATE {_GENERATION} AS g SET provider_response_id = v.r, provider_cursor = v.c"  # noqa: S608
    " FROM unnest(%b::bigint[], %b::text[], %b::text[]) AS v (id, r, c) WHERE g.id = v.id"
)
_INSERT = (
    f"INSERT INTO {_EVENT} ({_COLUMNS})"  # noqa: S608
    " SELECT v.c, v.s, v.g, v.t, v.d::jsonb, %b FROM"
    " unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::text[], %b::text[]) AS v (c, s, g, t, d)"
)


class FlushSQL(ABC):
    """What a flush does in one transaction."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    @abstractmethod
    def advance(self, counts: Mapping[int, int]) -> Heads:
        """Lock the conversations and move their heads; a conversation that is gone is left out."""

    def take(self, counts: Mapping[int, int], generations: Sequence[int]) -> tuple[Heads, dict[int, int]]:
        """Advance the conversations, then tell the fences of the generations."""
        return self.advance(counts), self.fences(generations)

    @abstractmethod
    def insert(self, rows: Mapping[int, Sequence[Row]], now: datetime) -> None:
        """Insert the rows of each conversation."""

    def follow(self, cursors: Mapping[int, ResponseCursor]) -> None:
        """Store how far generations have followed their responses; call with their fences checked."""
        Generation.objects.using(self.connection.alias).bulk_update(
            [
                Generation(pk=pk, provider_response_id=at.response_id, provider_cursor=at.cursor)
                for pk, at in cursors.items()
            ],
            ["provider_response_id", "provider_cursor"],
        )

    def lock(self, conversation: int) -> Conversation | None:
        """Lock one conversation and return what the log needs of it; the other fields are deferred."""
        if self.connection.vendor == "sqlite" and getattr(self.connection, "transaction_mode", None) != "IMMEDIATE":
            # There is no row lock to ask for, and only a write takes the database's. A read before it would be of a
            # state that another writer may have left behind.
            Conversation.objects.using(self.connection.alias).filter(pk=conversation).update(head=F("head"))
        suffix = " FOR UPDATE" if self.connection.features.has_select_for_update else ""
        with self.connection.cursor() as cursor:
            cursor.execute(_LOCK + suffix, [conversation])
            row = cursor.fetchone()
        return None if row is None else Conversation.from_db(self.connection.alias, _LOCK_FIELDS, row)

    def move(self, conversation: Conversation, now: datetime) -> None:
        """Store head and leaf of a locked conversation, and that it was just used."""
        updated_at = self.connection.ops.adapt_datetimefield_value(now)
        with self.connection.cursor() as cursor:
            cursor.execute(_MOVE, [conversation.head, conversation.leaf, updated_at, conversation.pk])

    def fences(self, generations: Sequence[int]) -> dict[int, int]:
        """Return the fence of each generation that is still running; call with the conversations locked."""
        running = Generation.objects.using(self.connection.alias).filter(status=Generation.Status.RUNNING)
        return dict(running.filter(pk__in=generations).values_list("pk", "fence"))


class PortableSQL(FlushSQL):
    """Plain ORM, for databases that have no faster way here."""

    def advance(self, counts: Mapping[int, int]) -> Heads:
        conversations = Conversation.objects.using(self.connection.alias).filter(pk__in=counts).order_by("pk")
        heads: Heads = {}
        for pk, head, epoch in conversations.select_for_update().values_list("pk", "head", "epoch"):
            heads[pk] = head + counts[pk], epoch
        for pk in heads:
            Conversation.objects.using(self.connection.alias).filter(pk=pk).update(head=F("head") + counts[pk])
        return heads

    def insert(self, rows: Mapping[int, Sequence[Row]], now: datetime) -> None:
        Event.objects.using(self.connection.alias).bulk_create(
            Event(
                conversation_id=conversation,
                seq=row.seq,
                generation_id=row.generation,
                type=row.type,
                data=orjson.loads(row.data),
                created_at=now,
            )
            for conversation, batch in rows.items()
            for row in batch
        )


class SQLiteSQL(FlushSQL):
    """Statements whose text is always the same, so that SQLite prepares each of them once. Needs SQLite 3.38."""

    def advance(self, counts: Mapping[int, int]) -> Heads:
        with self.connection.cursor() as cursor:
            cursor.execute(_ADVANCE_JSON, [_json(list(counts.items()))])
            return _heads(cursor)

    def fences(self, generations: Sequence[int]) -> dict[int, int]:
        with self.connection.cursor() as cursor:
            cursor.execute(_FENCES_JSON, [_json(list(generations))])
            return dict(cursor.fetchall())

    def follow(self, cursors: Mapping[int, ResponseCursor]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(_FOLLOW_ROW, [(*at, pk) for pk, at in cursors.items()])

    def insert(self, rows: Mapping[int, Sequence[Row]], now: datetime) -> None:
        created_at = self.connection.ops.adapt_datetimefield_value(now)
        with self.connection.cursor() as cursor:
            cursor.executemany(
                _INSERT_ROW,
                [
                    (conversation, row.seq, row.generation, row.type, row.data.decode(), created_at)
                    for conversation, batch in rows.items()
                    for row in batch
                ],
            )


class PostgreSQL(FlushSQL):
    """One statement a step, its arrays sent as they are and unnested. Needs psycopg 3.

    Django's own cursors print every value into the text of the statement, which both sides then have to read again.
    """

    def advance(self, counts: Mapping[int, int]) -> Heads:
        with self._cursor() as cursor:
            cursor.execute(_ADVANCE, [list(counts), list(counts.values())])
            return _heads(cursor)

    def fences(self, generations: Sequence[int]) -> dict[int, int]:
        with self._cursor() as cursor:
            cursor.execute(_FENCES, [list(generations)])
            return dict(cursor.fetchall())

    def take(self, counts: Mapping[int, int], generations: Sequence[int]) -> tuple[Heads, dict[int, int]]:
        # Both in one journey to the server, which still runs the second after the first.
        with self._cursor() as heads, self._cursor() as fences:
            with self.connection.wrap_database_errors, self.connection.connection.pipeline():
                heads.execute(_ADVANCE, [list(counts), list(counts.values())])
                fences.execute(_FENCES, [list(generations)])
            return _heads(heads), dict(fences.fetchall())

    def insert(self, rows: Mapping[int, Sequence[Row]], now: datetime) -> None:
        flat = [(conversation, row) for conversation, batch in rows.items() for row in batch]
        with self._cursor() as cursor:
            cursor.execute(
                _INSERT,
                [
                    now,
                    [conversation for conversation, _ in flat],
                    [row.seq for _, row in flat],
                    [row.generation for _, row in flat],
                    [row.type for _, row in flat],
                    [row.data.decode() for _, row in flat],
                ],
            )

    def follow(self, cursors: Mapping[int, ResponseCursor]) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                _FOLLOW,
                [list(cursors), [at.response_id for at in cursors.values()], [at.cursor for at in cursors.values()]],
            )

    def _cursor(self) -> CursorWrapper:
        """Return a cursor of Django's around one that binds parameters on the server."""
        wrap = self.connection.make_debug_cursor if self.connection.queries_logged else self.connection.make_cursor
        return wrap(_driver(self.connection).Cursor(self.connection.connection))


def _driver(connection: BaseDatabaseWrapper) -> Any:
    return connection.Database  # type: ignore[attr-defined]


def _json(value: list[Any]) -> str:
    return orjson.dumps(value).decode()


def _heads(cursor: CursorWrapper) -> Heads:
    return {pk: (head, epoch) for pk, head, epoch in cursor.fetchall()}


def flush_sql(alias: str) -> FlushSQL:
    """Return the leanest statements that the database behind ``alias`` understands."""
    connection = connections[alias]
    if connection.vendor == "postgresql" and hasattr(_driver(connection), "Cursor"):  # psycopg 3
        return PostgreSQL(connection)
    if connection.vendor == "sqlite" and sqlite_version_info >= (3, 38):
        return SQLiteSQL(connection)
    return PortableSQL(connection)
