"""JSON objects that come as text."""

from __future__ import annotations

from typing import Any

import orjson


def json_object(text: str) -> dict[str, Any] | None:
    """Return the object that a text is in JSON, None when it is none."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
