"""What busy accounts used before the last minutes, kept per process: else each prompt would add up a whole month."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias

from .windows import Windows

#: Rows of the ledger from which on an account's past is worth remembering, and accounts that are.
BUSY: Final = 1_000
_ACCOUNTS: Final = 1_024
#: Older rows are all there: longer than a transaction takes, and more than clocks of several hosts differ.
_SETTLED: Final = timedelta(minutes=5)


class Sums(NamedTuple):
    """What was used in a stretch of time: today's share, and this month's."""

    day_tokens: Decimal = Decimal(0)
    day_cost: Decimal = Decimal(0)
    month_cost: Decimal = Decimal(0)

    def plus(self, other: Sums) -> Sums:
        """Return both together."""
        return Sums(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Past(NamedTuple):
    """What an account used up to a time, which is what does not have to be read again."""

    until: datetime
    sums: Sums = Sums()


#: Whose past it is, and whether it goes back to the month's beginning.
Key: TypeAlias = tuple[str, bool]


class PastUse:
    """What this process remembers of busy accounts."""

    def __init__(self) -> None:
        self._known: dict[tuple[Key, datetime], Past] = {}

    def of(self, key: Key, windows: Windows) -> Past:
        """Return what is known of an account."""
        known = self._known.get((key, windows.month))
        # The last minute may have begun yesterday.
        since = min(windows.minute, windows.month if key[1] else windows.day)
        if known is None or known.until < since:
            return Past(since)
        if known.until <= windows.day:  # it was another day's
            return Past(known.until, Sums(month_cost=known.sums.month_cost))
        return known

    def extend(self, key: Key, windows: Windows, past: Past, read: Callable[[datetime, datetime], Sums]) -> None:
        """Remember more of a busy account; ``read`` tells what it used between two times."""
        until = windows.now - _SETTLED
        if until > past.until:
            while len(self._known) >= _ACCOUNTS:
                self._known.pop(next(iter(self._known)), None)
            self._known[key, windows.month] = Past(until, past.sums.plus(read(past.until, until)))
