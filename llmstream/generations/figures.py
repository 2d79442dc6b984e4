"""Usage figures: as providers send them, within what the ledger can hold; estimated where they send none; in money."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from ..conf import Rates, get_settings
from ..providers.base import Usage

#: The counts of a ``Usage``, of a row of the ledger, and of totals.
TOKENS: Final = "input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "cache_write_tokens"

#: Characters per token, where the provider has not counted.
CHARS_PER_TOKEN: Final = 4

#: More than any model takes, and so little that databases can add millions of them up.
_MAX_TOKENS = 10**12
_MAX_COST = 10**8
_CENT: Final = Decimal("1e-8")
_MILLION: Final = 1_000_000


def plausible(usage: Usage) -> Usage:
    """Return a provider's figures within what the ledger can hold: an odd one must not cost the answer."""
    counts = {name: getattr(usage, name) for name in TOKENS}
    counts = {name: min(max(n, 0), _MAX_TOKENS) if isinstance(n, int) else 0 for name, n in counts.items()}
    cost = usage.cost
    fits = isinstance(cost, Decimal) and cost.is_finite() and 0 <= cost < _MAX_COST
    return Usage(**counts, cost=cost if fits else None)


def tokens_of(chars: int) -> int:
    """Estimate the tokens of so many characters."""
    return -(-chars // CHARS_PER_TOKEN)


def input_of(chars: int, model: str) -> int:
    """Estimate the tokens that a model is sent of a history of so many characters."""
    found = get_settings().model(model)
    most = found[1].context_tokens if found else 0
    return min(tokens_of(chars), most) if most else tokens_of(chars)


def cost_of(usage: Usage, rates: Rates | None) -> Decimal | None:
    """Return what a model call cost: what its provider says, else by the rates; None when nobody knows."""
    if usage.cost is not None or rates is None:
        return usage.cost
    cached = min(usage.cached_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - cached)
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    cost = (
        (usage.input_tokens - cached - written) * rates.input
        + cached * (rates.input if rates.cached is None else rates.cached)
        + written * (rates.input if rates.cache_write is None else rates.cache_write)
        + (usage.output_tokens - reasoning) * rates.output
        + reasoning * (rates.output if rates.reasoning is None else rates.reasoning)
    ) / _MILLION
    return min(cost, _MAX_COST - _CENT).quantize(_CENT, ROUND_HALF_UP)


def cost_text(cost: Decimal | None) -> str | None:
    """Return an amount as the wire has it."""
    return None if cost is None else format(cost.normalize(), "f")
