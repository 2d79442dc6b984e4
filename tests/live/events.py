"""What a client of the wire protocol knows, written from the specification and not from the library."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Frame:
    """One dispatched event; ``id`` is the last event id, ``own_id`` whether this event has set it."""

    type: str
    data: str
    id: str
    own_id: bool


class EventStreamParser:
    """The "Interpreting an event stream" section of the HTML standard, byte by byte."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line: list[str] = []
        self._after_cr = False
        self._first = True
        self._data: list[str] = []
        self._type = ""
        self._id = ""
        self._own_id = False
        self.last_event_id = ""
        self.retry: int | None = None
        self.comments: list[str] = []

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the events that they complete."""
        frames: list[Frame] = []
        for char in self._decoder.decode(data):
            skip, self._after_cr = self._after_cr and char == "\n", char == "\r"
            if self._first:
                self._first = False
                skip = char == "\ufeff"
            if skip:
                continue
            if char not in "\r\n":
                self._line.append(char)
                continue
            line, self._line = "".join(self._line), []
            if line:
                self._field(line)
            elif frame := self._dispatch():
                frames.append(frame)
        return frames

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments.append(value)
        elif name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id, self._own_id = value, True
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)

    def _dispatch(self) -> Frame | None:
        self.last_event_id = self._id
        data, self._data = self._data, []
        kind, self._type = self._type, ""
        own_id, self._own_id = self._own_id, False
        return Frame(kind or "message", "\n".join(data), self._id, own_id) if data else None


def check_framing(body: bytes) -> None:
    """Assert the stricter rules of our streams: LF only, one data line, ``id`` last, ``retry`` first."""
    assert b"\r" not in body
    assert body.startswith(b"retry: "), body[:80]
    *blocks, rest = body.split(b"\n\n")
    assert rest == b"", rest
    for block in blocks:
        names = [line.split(b":")[0] for line in block.split(b"\n")]
        if b"data" in names:
            assert names in ([b"event", b"data"], [b"event", b"data", b"id"]), block
        else:
            assert set(names) <= {b"", b"retry"}, block


def text_of(message: dict[str, Any]) -> str:
    """The answer's plain text as a message object carries it."""
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")
