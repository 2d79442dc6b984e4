"""Reading a client's JSON: field by field, with limits, and a clear error for each."""

from __future__ import annotations

from typing import Any

import orjson

from .exceptions import InvalidRequest, LimitExceeded, MalformedJSON, TooLarge


class Fields:
    """A JSON object that a client sent, in a request's body or a frame."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    @classmethod
    def parse(cls, raw: bytes | str) -> Fields:
        """Read a JSON object; raises MalformedJSON."""
        try:
            data = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise MalformedJSON from None
        if not isinstance(data, dict):
            raise MalformedJSON
        return cls(data)

    def text(self, name: str, *, limit: int, choices: tuple[str, ...] = ()) -> str:
        """Return a string field, empty when absent; raises InvalidRequest or TooLarge."""
        value = self._data.get(name)
        if value is None:
            return ""
        if not isinstance(value, str) or "\0" in value:
            raise InvalidRequest(f"{name} must be a string without NUL characters.")
        if len(value) > limit:
            raise TooLarge(f"{name} may have at most {limit} characters.")
        if choices and value not in choices:
            raise InvalidRequest(f"{name} must be one of: {', '.join(choices)}.")
        return value

    def texts(self, name: str, *, most: int) -> tuple[str, ...]:
        """Return a list of different strings, empty when absent; raises InvalidRequest or LimitExceeded."""
        value = self._data.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise InvalidRequest(f"{name} must be a list of strings.")
        if len(set(value)) != len(value):
            raise InvalidRequest(f"{name} must not name anything twice.")
        if len(value) > most:
            raise LimitExceeded(f"{name} may have at most {most} entries.")
        return tuple(value)

    def __contains__(self, name: str) -> bool:
        return name in self._data
