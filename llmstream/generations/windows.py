"""The last minute, today and this month: the times over which use is limited."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from django.utils import timezone


class Windows(NamedTuple):
    """The times over which use is counted."""

    now: datetime
    minute: datetime
    day: datetime
    month: datetime
    next_day: datetime
    next_month: datetime

    @classmethod
    def at(cls, now: datetime) -> Windows:
        """Return those that a time lies in."""
        local = timezone.localtime(now, timezone.get_default_timezone()) if timezone.is_aware(now) else now
        day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        month = day.replace(day=1)
        next_month = (month + timedelta(days=32)).replace(day=1)
        return cls(now, now - timedelta(minutes=1), day, month, day + timedelta(days=1), next_month)
