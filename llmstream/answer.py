"""An answer as the fold of its events: the one way to get from the log to a message's parts.

Whoever runs a generation applies each event as it is appended, everybody else the rows of the log; both get the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from .events import (
    CONTEXT,
    DATA,
    GENERATION_START,
    PART_KINDS,
    PHASE,
    STEER,
    STEER_ACCEPTED,
    TOOL_APPROVAL_REQUEST,
    TOOL_APPROVAL_RESPONSE,
    TOOL_CALL,
    TOOL_PROGRESS,
    TOOL_RESULT,
    USAGE,
    WireEvent,
)
from .log.rows import Row


class Answer:
    """Parts of a message, grown by deltas and other events.

    ``length`` counts the characters of all text, ``asked`` those of all tool input. ``calls`` are the usage events of
    the model calls so far, and ``counted`` is what of ``length`` and ``asked`` they account for. ``phase`` is the
    newest one, ``steers`` are the steering messages that the model has not seen, by id, and ``taken`` the ids of those
    that it has. ``started`` says whether its generation has begun, and ``left_out`` how many turns of the history the
    last call went without.
    """

    def __init__(self) -> None:
        self._kinds: list[str] = []
        self._pieces: list[list[str]] = []
        self._others: dict[int, dict[str, Any]] = {}
        self._tools: dict[str, dict[str, Any]] = {}
        self.length = 0
        self.asked = 0
        self.counted = self._counted_parts = 0
        self._told = False
        self.calls: list[WireEvent] = []
        self.phase: dict[str, Any] | None = None
        self.steers: dict[str, dict[str, Any]] = {}
        self.taken: set[str] = set()
        self.started = False
        self.left_out = 0

    def grow(self, kind: str, text: str) -> int:
        """Add text of a delta type to the last part, or to a new one when the type changes; return the part's index."""
        if not self._kinds or self._kinds[-1] != kind:
            self._kinds.append(kind)
            self._pieces.append([])
        self._pieces[-1].append(text)
        self.length += len(text)
        return len(self._kinds) - 1

    @property
    def next_part(self) -> int:
        """The index that the next new part gets."""
        return len(self._kinds)

    def apply(self, event: WireEvent) -> None:
        """Take an event that is no delta; one that changes no answer is passed over."""
        if fold := _FOLDS.get(event["type"]):
            fold(self, event)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The parts as messages store and show them."""
        return [
            dict(self._others[index])
            if index in self._others
            else {"type": PART_KINDS[kind], "text": "".join(self._pieces[index])}
            for index, kind in enumerate(self._kinds)
        ]

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The parts that its model has been sent again: those of earlier calls, and steering messages."""
        return [part for index, part in enumerate(self.parts) if index < self._counted_parts or part["type"] == "steer"]

    @property
    def open_calls(self) -> list[dict[str, Any]]:
        """The tool parts that have no result yet."""
        return [part for part in self._tools.values() if is_open(part)]

    @property
    def shown(self) -> bool:
        """Whether the model call at work, as far as it has come, has said, asked for or sent anything."""
        return self._told or self.length + self.asked > self.counted

    def knows(self, call: str) -> bool:
        """Whether there is a tool call of that id."""
        return call in self._tools

    @classmethod
    def from_rows(cls, rows: Iterable[Row], generation: int) -> Answer:
        """Fold the events of one generation."""
        answer = cls()
        for row in rows:
            if row.generation != generation:
                continue
            if row.type in PART_KINDS:
                answer.grow(row.type, orjson.loads(row.data)["delta"])
            elif row.type in _FOLDS:
                answer.apply(orjson.loads(row.data))
        return answer

    def _add(self, part: dict[str, Any]) -> None:
        self._others[len(self._kinds)] = part
        self._kinds.append(part["type"])
        self._pieces.append([])

    def _begun(self, event: WireEvent) -> None:
        self.started = True

    def _trimmed(self, event: WireEvent) -> None:
        self.left_out = event["left_out"]

    def _called(self, event: WireEvent) -> None:
        part = {"type": "tool", **{key: event[key] for key in ("call", "tool", "input", "step")}, "approval": None}
        self._tools[event["call"]] = part
        self._add(part)
        self.asked += len(orjson.dumps(event["input"]))

    def _progressed(self, event: WireEvent) -> None:
        self._tools[event["call"]]["progress"] = event["progress"]

    def _asked_for(self, event: WireEvent) -> None:
        self._tools[event["call"]]["approval"] = {"decision": None, "by": None, "expires_at": event["expires_at"]}

    def _decided(self, event: WireEvent) -> None:
        part = self._tools[event["call"]]
        part["approval"] = {**part["approval"], "decision": event["decision"], "by": event["by"]}

    def _returned(self, event: WireEvent) -> None:
        part = self._tools[event["call"]]
        part.pop("progress", None)
        part.update({key: event[key] for key in ("output", "error") if key in event})

    def _said(self, event: WireEvent) -> None:
        self._told = self._told or not self.open_calls  # while a tool is at work, data is the tool's
        self._add({"type": "data", "name": event["name"], "data": event["data"]})

    def _entered(self, event: WireEvent) -> None:
        self.phase = {"name": event["name"], "detail": event["detail"]}

    def _steered(self, event: WireEvent) -> None:
        if event["steer"] not in self.taken:
            self.steers[event["steer"]] = {key: event[key] for key in ("steer", "content", "author")}

    def _accepted(self, event: WireEvent) -> None:
        self.taken.add(event["steer"])
        self.steers.pop(event["steer"], None)
        self._add({"type": "steer", **{key: event[key] for key in ("steer", "content", "author")}})

    def _used(self, event: WireEvent) -> None:
        self.calls.append(event)
        self.counted = self.length + self.asked
        self._told = False
        self._counted_parts = len(self._kinds)


_FOLDS = {
    GENERATION_START: Answer._begun,
    CONTEXT: Answer._trimmed,
    TOOL_CALL: Answer._called,
    TOOL_PROGRESS: Answer._progressed,
    TOOL_APPROVAL_REQUEST: Answer._asked_for,
    TOOL_APPROVAL_RESPONSE: Answer._decided,
    TOOL_RESULT: Answer._returned,
    DATA: Answer._said,
    PHASE: Answer._entered,
    STEER: Answer._steered,
    STEER_ACCEPTED: Answer._accepted,
    USAGE: Answer._used,
}


def is_open(part: dict[str, Any]) -> bool:
    """Whether a part is a tool call that has no result yet."""
    return part["type"] == "tool" and "output" not in part and "error" not in part


def is_waiting(parts: Iterable[dict[str, Any]]) -> bool:
    """Whether one of the parts is a tool call that waits for somebody's decision."""
    return any(is_open(part) and part["approval"] and not part["approval"]["decision"] for part in parts)


def plain_text(parts: Iterable[dict[str, Any]]) -> str:
    """Return the text of the text parts, joined."""
    return "".join(part["text"] for part in parts if part["type"] == "text")
