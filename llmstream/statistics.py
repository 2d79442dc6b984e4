"""How much there is and what goes on, told without reading large tables.

On PostgreSQL the totals are the planner's estimates, as of its last ANALYZE; elsewhere they are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connections
from django.db.models import Count, Model, QuerySet, Sum
from django.utils import timezone

from .generations.endings import lapsed
from .generations.figures import TOKENS
from .log.rows import database_alias
from .models import Conversation, Event, Generation, Message, UsageRecord

SPANS: Final = {"day": timedelta(days=1), "week": timedelta(days=7)}
_TABLES: tuple[type[Model], ...] = (Conversation, Message, Generation, Event, UsageRecord)
_ESTIMATE = "SELECT reltuples::bigint, pg_total_relation_size(oid) FROM pg_class WHERE oid = %s::regclass"


def statistics() -> dict[str, Any]:
    """Return the figures as plain JSON data; a cost is text, and the size of a table None where nobody knows it."""
    now = timezone.now()
    generations = Generation.objects.using(database_alias())
    return {
        "tables": {str(model._meta.model_name): _table(model) for model in _TABLES},
        "active": _by_status(generations.filter(status__in=Generation.ACTIVE)),
        "stale_leases": lapsed().count(),
        "begun": {name: _by_status(_since(Generation, now - span)) for name, span in SPANS.items()},
        "usage": {name: _usage(_since(UsageRecord, now - span)) for name, span in SPANS.items()},
    }


def _table(model: type[Model]) -> Mapping[str, Any]:
    """Rows of a table, and the bytes that it takes with its indexes."""
    rows, size = _estimate(model)
    estimated = rows >= 0
    return {
        "rows": rows if estimated else model._default_manager.using(database_alias()).count(),
        "bytes": size,
        "estimated": estimated,
    }


def _estimate(model: type[Model]) -> tuple[int, int | None]:
    """Return -1 rows where there is no estimate; a table that has never been analyzed is a new one."""
    connection = connections[database_alias()]
    if connection.vendor != "postgresql":
        return -1, None
    with connection.cursor() as cursor:
        cursor.execute(_ESTIMATE, [model._meta.db_table])
        rows, size = cursor.fetchone()
    return rows, size


def _since(model: type[Model], moment: datetime) -> QuerySet[Any]:
    """Return the rows since a moment, found by halving: their keys grow with time, and no index is by time."""
    rows: QuerySet[Any] = model._default_manager.using(database_alias()).order_by("pk")
    newest = rows.order_by("-pk").values_list("pk", flat=True).first()
    low, high = 0, 0 if newest is None else newest + 1
    while low < high:
        middle = (low + high) // 2
        found = rows.filter(pk__gte=middle).values_list("pk", "created_at").first()
        if found is None or found[1] >= moment:
            high = middle
        else:
            low = found[0] + 1
    return rows.filter(pk__gte=low).order_by()


def _by_status(generations: QuerySet[Any]) -> dict[str, int]:
    return dict(generations.values_list("status").annotate(number=Count("pk")).order_by("status"))


def _usage(records: QuerySet[Any]) -> dict[str, Any]:
    sums = records.aggregate(calls=Count("pk"), cost=Sum("cost"), **{name: Sum(name) for name in TOKENS})
    cost = None if sums["cost"] is None else str(sums["cost"])
    return {"calls": sums["calls"], **{name: sums[name] or 0 for name in TOKENS}, "cost": cost}
