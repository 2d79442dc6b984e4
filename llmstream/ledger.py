"""What was used: totals of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, Q, Sum

from .conf import get_settings
from .generations.figures import TOKENS, cost_text
from .log.rows import database_alias
from .models import Conversation, Generation, Message, UsageRecord


@dataclass(frozen=True, slots=True)
class Totals:
    """Model calls and what they used. ``estimated`` calls are those whose provider sent no figures.

    ``cached_tokens`` (read from the service's cache), ``cache_write_tokens`` and ``reasoning_tokens`` are shares of the
    input and the output. ``cost`` is in ``currency``; of ``unpriced`` calls nobody knows it, and they are not in it.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cost: Decimal = Decimal(0)
    estimated: int = 0
    unpriced: int = 0
    currency: str = ""


def usage_of(subject: Conversation | Generation | Message | Any, *, since: datetime | None = None) -> Totals:
    """Return what a conversation, a generation, a message's answers or a user's conversations have used; one query.

    What runs is counted when it has ended.
    """
    records = UsageRecord.objects.using(database_alias()).filter(_of(subject))
    if since is not None:
        records = records.filter(created_at__gte=since)
    names = *TOKENS, "cost"
    # First, since a sum has the name of its column from then on.
    counts = {
        "calls": Count("pk"),
        "estimated": Count("pk", filter=Q(estimated=True)),
        "unpriced": Count("pk", filter=Q(cost=None)),
    }
    figures: dict[str, Any] = records.order_by().aggregate(**counts, **{name: Sum(name) for name in names})
    cost = round(Decimal(figures.pop("cost") or 0), 8)
    return Totals(**{name: n or 0 for name, n in figures.items()}, cost=cost, currency=get_settings().currency)


def usage_object(totals: Totals) -> dict[str, Any]:
    """Return what clients see of totals."""
    return {
        "calls": totals.calls,
        "input": totals.input_tokens,
        "output": totals.output_tokens,
        "reasoning": totals.reasoning_tokens,
        "cached": totals.cached_tokens,
        "cache_write": totals.cache_write_tokens,
        "cost": cost_text(totals.cost),
        "currency": totals.currency,
        "estimated": totals.estimated,
    }


def _of(subject: Any) -> Q:
    if isinstance(subject, Conversation):
        return Q(conversation=subject)
    if isinstance(subject, Generation):
        return Q(generation=subject)
    if isinstance(subject, Message):
        return Q(generation__message=subject)
    return Q(user=subject)
