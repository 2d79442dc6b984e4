"""Limits before and during a generation: it reserves what it is about to use, and asks again when that is used up.

What was used is in the ledger, what is reserved in the rows of generations that have not ended. So whatever ends one,
a crash included, releases what it had reserved in the transaction that stores what it has used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from django.utils import timezone

from ..conf import Limits, Rates, get_settings
from ..exceptions import (
    BudgetExceeded,
    LeaseLost,
    LLMStreamError,
    TooManyGenerations,
    TooManyPrompts,
    TooManyTokens,
)
from ..log.transaction import locked
from ..models import Conversation, Generation
from ..prices import rates_of
from ..providers.base import Usage
from ..quotas import account_of, get_quota
from ..statements import update
from .figures import cost_of, input_of
from .uses import SITE, Use, line_up, uses
from .windows import Windows

#: What the column holds.
_MOST_COST: Final = Decimal(10**8 - 1)
_MINUTE: Final = timedelta(minutes=1)
_ENDLESS: Final = Decimal("Infinity")
#: When those who wait for others' answers to end may try again.
_SOON_MS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Grant:
    """What a generation has reserved: ``output`` tokens of its next model call, None without limits, and all in all."""

    output: int | None = None
    tokens: int = 0
    cost: Decimal = Decimal(0)


class Spent(NamedTuple):
    """What a generation has used so far, with the input of its next model call."""

    tokens: int
    cost: Decimal


class _Scope(NamedTuple):
    key: str
    limits: Limits


def admit(conversation: Conversation, model: str, chars: int) -> Grant:
    """Reserve what the answer to a prompt of so many characters will use at first.

    Call it with the conversation locked, in the transaction that stores the generation; at most two statements, none
    without limits. Raises TooManyPrompts, TooManyGenerations, TooManyTokens or BudgetExceeded.
    """
    get_quota().check(conversation, model)
    if not (scopes := _scopes(conversation)):
        return Grant()
    windows = Windows.at(timezone.now())
    rates = rates_of(model, windows.now)
    tokens = input_of(chars, model)
    spent = Spent(tokens, cost_of(Usage(tokens, 0), rates) or Decimal(0))
    rooms: list[_Room] = []
    for scope, use in _read(scopes, windows):
        _check_counts(scope.limits, use, windows.now)
        rooms += _rooms(scope, use, windows, spent, rates)
        rooms += _room_now(scope.limits, use, windows.now, spent)
    if not any(scope.limits.metered for scope in scopes):
        return Grant()
    tightest = min(rooms, default=_Room(_ENDLESS), key=lambda room: room.tokens)
    if tightest.tokens < 1 and tightest.error:
        raise tightest.error
    return _grant(spent, rates, tightest.tokens, get_settings().reserve_tokens)


def extend(conversation: int, generation: int, fence: int, model: str, spent: Spent, at: datetime, wish: int) -> Grant:
    """Reserve for a generation at work what it has used and ``wish`` output tokens more, fewer or none if less is left.

    ``at`` is when it began, which its prices go by. Raises LeaseLost when it is no longer running under its fence.
    """
    with locked(conversation) as log:
        scopes = _scopes(log.conversation)
        grant = Grant()
        if any(scope.limits.metered for scope in scopes):
            windows, rates = Windows.at(timezone.now()), rates_of(model, at)
            found = _read(scopes, windows, besides=generation)
            rooms = [room for scope, use in found for room in _rooms(scope, use, windows, spent, rates)]
            left = min((room.tokens for room in rooms), default=_ENDLESS)
            grant = _grant(spent, rates, max(left, Decimal(0)), wish)
        mine = {"fence": fence, "status": Generation.Status.RUNNING}
        reserved = {"reserved_tokens": grant.tokens, "reserved_cost": grant.cost}
        if not update(Generation, generation, where=mine, **reserved):
            raise LeaseLost
        return grant


def is_limited(conversation: Conversation) -> bool:
    """Whether a conversation's generations have to reserve what they use; reads nothing by itself."""
    return any(scope.limits.metered for scope in _scopes(conversation))


def _scopes(conversation: Conversation) -> list[_Scope]:
    quota, account = get_quota(), account_of(conversation)
    limits = [_Scope(account, quota.limits(conversation)), _Scope(SITE, quota.site_limits())]
    return [scope for scope in limits if scope.key and scope.limits != Limits()]


def _read(scopes: Sequence[_Scope], windows: Windows, *, besides: int = 0) -> Iterator[tuple[_Scope, Use]]:
    keys = [scope.key for scope in scopes]
    line_up(keys)
    monthly = any(scope.limits.cost_per_month is not None for scope in scopes)
    return zip(scopes, uses(keys, windows, monthly=monthly, besides=besides), strict=True)


def _check_counts(limits: Limits, use: Use, now: datetime) -> None:
    if limits.prompts_per_minute is not None and use.prompts >= limits.prompts_per_minute:
        raise TooManyPrompts(retry_after_ms=_until_past(use.first_asked, now))
    if limits.generations is not None and use.active >= limits.generations:
        raise TooManyGenerations(retry_after_ms=_SOON_MS)


class _Room(NamedTuple):
    """The output tokens that a limit leaves, and what to say when there are none."""

    tokens: Decimal
    error: LLMStreamError | None = None


def _rooms(scope: _Scope, use: Use, windows: Windows, spent: Spent, rates: Rates | None) -> Iterator[_Room]:
    """Yield the room in the budgets of days and months."""
    limits = scope.limits
    if limits.tokens_per_day is not None:
        left = limits.tokens_per_day - use.day_tokens - use.reserved_tokens - spent.tokens
        yield _Room(left, _exceeded(windows.now, windows.next_day))
    budgets = (
        (limits.cost_per_day, use.day_cost, windows.next_day),
        (limits.cost_per_month, use.month_cost, windows.next_month),
    )
    for budget, used, renewed in budgets:
        if budget is not None:
            left = budget - used - use.reserved_cost - spent.cost
            yield _Room(_affordable(left, spent, rates), _exceeded(windows.now, renewed))


def _room_now(limits: Limits, use: Use, now: datetime, spent: Spent) -> Iterator[_Room]:
    """Yield the room in the last minute, which ends no answer that has begun."""
    if limits.tokens_per_minute is not None:
        left = limits.tokens_per_minute - use.minute_tokens - use.reserved_tokens - spent.tokens
        yield _Room(left, TooManyTokens(retry_after_ms=_until_past(use.first_used, now)))


def _affordable(left: Decimal, spent: Spent, rates: Rates | None) -> Decimal:
    """Return how many output tokens an amount of money is enough for."""
    if rates is not None and not (each := _dearest(rates)):
        return _ENDLESS if not spent.cost or left > 0 else Decimal(0)
    if left <= 0:
        return Decimal(0)
    return _ENDLESS if rates is None else left * 1_000_000 / each


def _dearest(rates: Rates) -> Decimal:
    return max(rates.output, rates.reasoning or Decimal(0))


def _grant(spent: Spent, rates: Rates | None, left: Decimal, wish: int) -> Grant:
    output = int(min(left, Decimal(wish)))
    cost = spent.cost + (_dearest(rates) * output / 1_000_000 if rates else 0)
    return Grant(output, spent.tokens + output, round(min(cost, _MOST_COST), 8))


def _exceeded(now: datetime, renewed: datetime) -> BudgetExceeded:
    return BudgetExceeded(retry_after_ms=_milliseconds(renewed - now))


def _until_past(first: datetime | None, now: datetime) -> int:
    return _SOON_MS if first is None else max(_milliseconds(first + _MINUTE - now), 1_000)


def _milliseconds(span: timedelta) -> int:
    return int(span / timedelta(milliseconds=1))
