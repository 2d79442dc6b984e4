"""An answer as the fold of its deltas: the one way to get from the log to a message's parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from .events import PART_KINDS
from .log.rows import Row


class Answer:
    """Parts of a message, grown by deltas."""

    def __init__(self) -> None:
        self._kinds: list[str] = []
        self._pieces: list[list[str]] = []
        self.length = 0

    def grow(self, kind: str, text: str) -> int:
        """Add text of a delta type to the last part, or to a new one when the type changes; return the part's index."""
        if not self._kinds or self._kinds[-1] != kind:
            self._kinds.append(kind)
            self._pieces.append([])
        self._pieces[-1].append(text)
        self.length += len(text)
        return len(self._kinds) - 1

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The parts as messages store and show them."""
        return [
            {"type": PART_KINDS[kind], "text": "".join(pieces)}
            for kind, pieces in zip(self._kinds, self._pieces, strict=True)
        ]

    @classmethod
    def from_rows(cls, rows: Iterable[Row], generation: int) -> Answer:
        """Fold the deltas of one generation."""
        answer = cls()
        for row in rows:
            if row.generation == generation and row.type in PART_KINDS:
                answer.grow(row.type, orjson.loads(row.data)["delta"])
        return answer


def plain_text(parts: Iterable[dict[str, Any]]) -> str:
    """Return the text of the text parts, joined."""
    return "".join(part["text"] for part in parts if part["type"] == "text")
