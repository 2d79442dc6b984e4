"""What a model's tokens cost: by the newest valid ``Price``, else by the site's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, TypeAlias

from django.db import transaction
from django.db.models.signals import post_delete, post_save

from .conf import Rates, get_settings, instance_of
from .log.rows import database_alias
from .models import Price

#: model -> its prices, newest first, each with the time from which it is valid
_Rows: TypeAlias = Mapping[str, Sequence[tuple[datetime, Rates]]]


class PriceList:
    """This process's copy of the prices: dropped when they change here, at most ``PRICE_TTL`` old when elsewhere."""

    def __init__(self) -> None:
        self._read: tuple[float, _Rows] | None = None

    def rates(self, model: str, at: datetime) -> Rates | None:
        """Return what a model's tokens cost at a time, or None when nobody has said. May read the database."""
        for valid_from, rates in self._rows().get(model, ()):
            if valid_from <= at:
                return rates
        entry = get_settings().models.get(model)
        return entry.prices if entry else None

    def forget(self) -> None:
        """Read the rows again at the next question."""
        self._read = None

    def _rows(self) -> _Rows:
        read = self._read
        if read is None or monotonic() - read[0] > get_settings().price_ttl:
            self._read = read = monotonic(), _all_rows()
        return read[1]


def rates_of(model: str, at: datetime) -> Rates | None:
    """Return what a model's tokens cost at a time, or None when nobody has said."""
    prices: PriceList = instance_of("llmstream.prices.PriceList")
    return prices.rates(model, at)


def _all_rows() -> _Rows:
    rows: dict[str, list[tuple[datetime, Rates]]] = {}
    for row in Price.objects.using(database_alias()).order_by("model", "-valid_from", "-pk"):
        rates = Rates(row.input, row.output, row.cached, row.cache_write, row.reasoning)
        rows.setdefault(row.model, []).append((row.valid_from, rates))
    return rows


def _changed(*, using: str, **_: Any) -> None:
    prices: PriceList = instance_of("llmstream.prices.PriceList")
    prices.forget()  # for whoever asks in this transaction
    transaction.on_commit(prices.forget, using=using)


post_save.connect(_changed, sender=Price, dispatch_uid="llmstream.prices")
post_delete.connect(_changed, sender=Price, dispatch_uid="llmstream.prices")
