"""The site's limit on output tokens, in the words of a service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def output_limit(options: Mapping[str, Any], most: int, *names: str) -> dict[str, int]:
    """Return the parameter that holds a call to ``most`` output tokens; none when that is 0.

    It is the one of ``names`` that the call's parameters have, if that is less with its own value, else the first.
    """
    if not most:
        return {}
    name = next((name for name in names if name in options), names[0])
    given = options.get(name)
    return {name: min(given, most) if isinstance(given, int) else most}
