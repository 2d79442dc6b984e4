"""Statements of the request path, written out.

Django builds and compiles a query anew each time, for about ten times what the database then takes to answer it: half a
millisecond to three, a dozen times a prompt. These run on Django's own connection, in its transaction, and convert
values by the models' own fields; only the text of the statement is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Model
from django.db.models.expressions import BaseExpression
from django.db.models.signals import post_save, pre_save
from django.db.models.sql import InsertQuery

from .log.rows import database_alias
from .models import Generation, Message

_Field: TypeAlias = "Field[Any, Any]"

_ACTIVE = ", ".join(f"'{status}'" for status in Generation.ACTIVE)
_IS_BUSY = f"SELECT 1 FROM {Generation._meta.db_table} WHERE conversation_id = %s AND status IN ({_ACTIVE})"  # noqa: S608
_MESSAGES = (
    f"SELECT id, public_id, parent_id, role, text FROM {Message._meta.db_table}"  # noqa: S608
    " WHERE conversation_id = %s AND first_seq <= %s ORDER BY first_seq DESC LIMIT %s"
)


class Turn(NamedTuple):
    """A message as its answer's model sees it, with its place in the tree."""

    pk: int
    public_id: str
    parent: int | None
    role: str
    text: str


def is_busy(conversation: int) -> bool:
    """Whether a generation of the conversation has not ended."""
    with connections[database_alias()].cursor() as cursor:
        cursor.execute(_IS_BUSY, [conversation])
        return cursor.fetchone() is not None


def messages_until(conversation: int, seq: int, limit: int) -> list[Turn]:
    """Return what a prompt needs of the messages at or before a position, the newest first, at most ``limit``."""
    with connections[database_alias()].cursor() as cursor:
        cursor.execute(_MESSAGES, [conversation, seq, limit])
        return [Turn(*row) for row in cursor.fetchall()]


def insert(instance: Model) -> None:
    """Store a new instance as ``save(force_insert=True)`` does, signals included where anybody listens to them."""
    model, connection = type(instance), connections[database_alias()]
    if pre_save.has_listeners(model) or post_save.has_listeners(model) or not _is_plain(connection):
        instance.save(using=connection.alias, force_insert=True)
        return
    head, tail, fields = _insert(model)
    placeholders: list[str] = []
    params: list[Any] = []
    for field in fields:
        placeholder, values = _prepared(connection, model, field, field.pre_save(instance, add=True))
        placeholders.append(placeholder)
        params += values
    with connection.cursor() as cursor:
        cursor.execute(f"{head} VALUES ({', '.join(placeholders)}) {tail}", params)
        (instance.pk,) = cursor.fetchone()
    instance._state.adding, instance._state.db = False, connection.alias


def update(model: type[Model], pk: int, *, where: Mapping[str, Any] | None = None, **values: Any) -> bool:
    """Set fields of one row, as a queryset's ``update`` does, where it has the values of ``where``; tell if so."""
    connection, where = connections[database_alias()], where or {}
    if not _is_plain(connection):
        return bool(model._default_manager.using(connection.alias).filter(pk=pk, **where).update(**values))
    sql, fields = _update(model, tuple(values), tuple(where))
    given = [*values.values(), *where.values()]
    params = [field.get_db_prep_save(value, connection) for field, value in zip(fields, given, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(sql, [*params, pk])
        return bool(cursor.rowcount)


def _is_plain(connection: BaseDatabaseWrapper) -> bool:
    """Whether the database takes standard SQL and returns the key of what it inserts."""
    known = connection.vendor in ("sqlite", "postgresql")
    return known and bool(connection.features.can_return_columns_from_insert)


def _prepared(
    connection: BaseDatabaseWrapper, model: type[Model], field: _Field, value: Any
) -> tuple[str, Sequence[Any]]:
    if not isinstance(value, BaseExpression):
        return "%s", (field.get_db_prep_save(value, connection),)
    query = InsertQuery(model)
    compiler = query.get_compiler(connection=connection)
    sql, params = compiler.compile(value.resolve_expression(query, allow_joins=False, for_save=True))
    return sql, params


@cache
def _insert(model: type[Model]) -> tuple[str, str, list[_Field]]:
    meta = model._meta
    fields = [field for field in meta.local_concrete_fields if not field.primary_key]
    columns = ", ".join(f'"{field.column}"' for field in fields)
    return f'INSERT INTO "{meta.db_table}" ({columns})', f'RETURNING "{meta.pk.column}"', fields


@cache
def _update(model: type[Model], names: tuple[str, ...], conditions: tuple[str, ...]) -> tuple[str, list[_Field]]:
    meta = model._meta
    fields = [field for name in (*names, *conditions) if isinstance(field := meta.get_field(name), Field)]
    equal = [f'"{field.column}" = %s' for field in fields]
    where = " AND ".join([*equal[len(names) :], f'"{meta.pk.column}" = %s'])
    return f'UPDATE "{meta.db_table}" SET {", ".join(equal[: len(names)])} WHERE {where}', fields  # noqa: S608
