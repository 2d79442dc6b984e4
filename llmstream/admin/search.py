"""Search over what people and models said.

By ``icontains``, which every database has. An index for it would have to be a PostgreSQL extension (``pg_trgm``), or
full text search, whose documents are limited in size: an answer that is too long for one could not be stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Q
from django.db.models.lookups import IContains
from django.db.models.sql.compiler import SQLCompiler
from django.utils.text import smart_split, unescape_string_literal

from ..log.rows import database_alias
from ..models import Message

#: Newest messages that a search looks for.
MATCHES = 1_000


class Says(IContains):
    """``icontains``, which PostgreSQL is asked for as ``ILIKE``.

    Django writes ``UPPER(text) LIKE``, and of an expression PostgreSQL knows no statistics: it reads all messages for a
    word that the newest ones hold.
    """

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        """Compare the column as it is."""
        column, parameters = compiler.compile(self.lhs)
        pattern, patterns = self.process_rhs(compiler, connection)
        return f"{column} ILIKE {pattern}", [*parameters, *patterns]


_text: Field[Any, Any] = Message._meta.get_field("text")
_text.register_lookup(Says, "says")


def words_of(term: str) -> list[str]:
    """Return the words of a search; what stands in quotes is one."""
    bits = list(smart_split(term))
    quoted = ('"', "'")
    return [unescape_string_literal(bit) if bit[:1] in quoted and bit[:1] == bit[-1:] else bit for bit in bits]


def newest_saying(term: str, field: str) -> Sequence[int]:
    """Return ``field`` of the newest messages that hold all the words: one pass, however long the list."""
    condition = Q()
    for word in words_of(term):
        condition &= Q(text__says=word)
    found = Message.objects.using(database_alias()).filter(condition).order_by("-pk")
    return list(set(found.values_list(field, flat=True)[:MATCHES]))
