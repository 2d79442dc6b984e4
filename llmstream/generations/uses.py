"""What accounts have used: the statements behind limits, written out as those of ``statements``.

One statement reads the ledger and what is reserved, in one view of both: a generation that ends meanwhile is counted
once. Prompts of one account line up before it, so each of them sees those before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

from django.conf import settings
from django.db import connections
from django.utils.dateparse import parse_datetime

from ..conf import instance_of
from ..log.rows import database_alias
from ..models import Generation, Turnstile, UsageRecord
from .past import BUSY, Past, PastUse, Sums
from .windows import Windows

#: The key of everybody's use together.
SITE = "site"

_ACTIVE = ", ".join(f"'{status}'" for status in Generation.ACTIVE)
_SUMS = (
    "SUM(CASE WHEN created_at >= %s THEN input_tokens + output_tokens END) AS day_tokens,"
    " SUM(CASE WHEN created_at >= %s THEN cost END) AS day_cost,"
    " SUM(CASE WHEN created_at >= %s THEN cost END) AS month_cost"
)
_USED = (
    "SELECT COUNT(*) AS found,"  # noqa: S608
    " SUM(CASE WHEN created_at > %s THEN input_tokens + output_tokens END) AS minute_tokens,"
    f" MIN(CASE WHEN created_at > %s THEN created_at END) AS first_used, {_SUMS}"
    f" FROM {UsageRecord._meta.db_table} WHERE {{whose}} created_at >= %s"
)
_PAST = (
    f"SELECT {_SUMS} FROM {UsageRecord._meta.db_table}"  # noqa: S608
    " WHERE {whose} created_at >= %s AND created_at < %s"
)
_RESERVED = (
    "SELECT SUM(reserved_tokens) AS reserved_tokens, SUM(reserved_cost) AS reserved_cost, COUNT(*) AS active"  # noqa: S608
    f" FROM {Generation._meta.db_table} WHERE {{whose}} status IN ({_ACTIVE}) AND id <> %s"
)
_ASKED = (
    "SELECT COUNT(*) AS prompts, MIN(created_at) AS first_asked"  # noqa: S608
    f" FROM {Generation._meta.db_table} WHERE {{whose}} created_at > %s"
)
_LINE_UP = (
    f"INSERT INTO {Turnstile._meta.db_table} (number) VALUES {{numbers}}"  # noqa: S608
    " ON CONFLICT (number) DO UPDATE SET number = excluded.number"
)
#: Accounts share so many turnstiles; the site has the one after them.
_TURNSTILES = 1_024


class Use(NamedTuple):
    """What was used in the last minute, today and this month, and what generations that have not ended reserve."""

    minute_tokens: Decimal
    first_used: datetime | None
    day_tokens: Decimal
    day_cost: Decimal
    month_cost: Decimal
    reserved_tokens: Decimal
    reserved_cost: Decimal
    active: int
    prompts: int
    first_asked: datetime | None


def line_up(keys: Sequence[str]) -> None:
    """Wait for other transactions that read what these accounts have used; others then wait for this one."""
    connection = connections[database_alias()]
    if not connection.features.has_select_for_update:
        return  # whoever writes has the whole database
    # In one order for everybody, so that no two wait for each other.
    numbers = sorted({_TURNSTILES if key == SITE else crc32(key.encode()) % _TURNSTILES for key in keys})
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_LINE_UP.format(numbers=", ".join(["(%s)"] * len(numbers))), numbers)
        return
    turnstiles = Turnstile.objects.using(connection.alias)
    for number in numbers:
        turnstiles.get_or_create(number=number)
        turnstiles.select_for_update().get(number=number)


def uses(keys: Sequence[str], windows: Windows, *, monthly: bool, besides: int = 0) -> list[Use]:
    """Return what each account has used; the month's cost is there with ``monthly``, which reads so far back.

    ``besides`` is a generation that is left out.
    """
    memory: PastUse = instance_of("llmstream.generations.past.PastUse")
    pasts = [memory.of((key, monthly), windows) for key in keys]
    found = []
    for key, past, row in zip(keys, pasts, _read(keys, windows, pasts, besides), strict=True):
        count, *figures = row[1:]
        found.append(_use(figures, past.sums))
        if count > BUSY:
            memory.extend((key, monthly), windows, past, partial(_sums, key, windows))
    return found


def _read(keys: Sequence[str], windows: Windows, pasts: Sequence[Past], besides: int) -> list[Sequence[Any]]:
    connection = connections[database_alias()]
    adapt = connection.ops.adapt_datetimefield_value
    minute, day, month = adapt(windows.minute), adapt(windows.day), adapt(windows.month)
    statements: list[str] = []
    params: list[Any] = []
    for number, (key, past) in enumerate(zip(keys, pasts, strict=True)):
        whose, mine = _whose(key)
        # Nobody limits the prompts of all, which no index would count.
        asked = _ASKED.format(whose=whose or "id < 0 AND")
        parts = zip((_USED.format(whose=whose), _RESERVED.format(whose=whose), asked), "ura", strict=True)
        tables = ", ".join(f"({part}) AS {name}" for part, name in parts)
        statements.append(f"SELECT {number} AS number, u.*, r.*, a.* FROM {tables}")  # noqa: S608
        since = adapt(past.until)
        params += [minute, minute, day, day, month, *mine, since, *mine, besides, *mine, minute]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(statements) + " ORDER BY 1", params)
        return list(cursor.fetchall())


def _sums(key: str, windows: Windows, since: datetime, until: datetime) -> Sums:
    """Return what an account has used from a time until another one."""
    connection = connections[database_alias()]
    whose, mine = _whose(key)
    day, month, *stretch = map(connection.ops.adapt_datetimefield_value, (windows.day, windows.month, since, until))
    with connection.cursor() as cursor:
        cursor.execute(_PAST.format(whose=whose), [day, day, month, *mine, *stretch])
        return Sums(*map(_decimal, cursor.fetchone()))


def _whose(key: str) -> tuple[str, list[str]]:
    return ("", []) if key == SITE else ("account = %s AND", [key])


def _use(figures: Sequence[Any], past: Sums) -> Use:
    minute, first_used, day, day_cost, month_cost, tokens, cost, active, prompts, first_asked = figures
    sums = past.plus(Sums(_decimal(day), _decimal(day_cost), _decimal(month_cost)))
    return Use(
        minute_tokens=_decimal(minute),
        first_used=_moment(first_used),
        day_tokens=sums.day_tokens,
        day_cost=sums.day_cost,
        month_cost=sums.month_cost,
        reserved_tokens=_decimal(tokens),
        reserved_cost=_decimal(cost),
        active=active,
        prompts=prompts,
        first_asked=_moment(first_asked),
    )


def _decimal(value: Any) -> Decimal:
    """Read a sum, which SQLite computes as a float."""
    return round(Decimal(value), 8) if value else Decimal(0)


def _moment(value: Any) -> datetime | None:
    """Read a time, which SQLite returns as text."""
    if not isinstance(value, str):
        moment: datetime | None = value
        return moment
    moment = parse_datetime(value)
    return moment.replace(tzinfo=UTC) if moment and settings.USE_TZ else moment
