"""Usage figures as providers send them, within what the ledger can hold."""

from __future__ import annotations

from decimal import Decimal

from ..providers.base import Usage

_MAX_TOKENS = 2**63 - 1
_MAX_COST = 10**8


def plausible(usage: Usage) -> Usage:
    """Return a provider's figures within what the ledger can hold: an odd one must not cost the answer."""
    names = "input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens"
    counts = {name: getattr(usage, name) for name in names}
    counts = {name: min(max(n, 0), _MAX_TOKENS) if isinstance(n, int) else 0 for name, n in counts.items()}
    cost = usage.cost
    fits = isinstance(cost, Decimal) and cost.is_finite() and 0 <= cost < _MAX_COST
    return Usage(**counts, cost=cost if fits else None)
