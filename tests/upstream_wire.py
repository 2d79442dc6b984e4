"""What the wire formats of the fake upstream have in common: requests, behaviours, framing."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

RST: Final = "rst"
FIN: Final = "fin"
END: Final = "end"
#: Wait until the test says so.
GATE: Final = "gate"

#: One thing that the server does: send a segment, wait, or end the connection.
Act: TypeAlias = bytes | float | str

#: The words of every error; they must not reach anybody.
WORDS: Final = "The secret words of the service."

HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n"
    b"x-request-id: req_upstream\r\n\r\n"
)
LAST: Final = b"0\r\n\r\n"


@dataclass(slots=True)
class Exchange:
    """One request and what became of it; times are ``time.monotonic()``."""

    model: str
    body: dict[str, Any]
    headers: dict[str, str]
    started: float = field(default_factory=monotonic)
    #: Tokens written so far.
    tokens: int = 0
    #: When the client closed the connection before the answer's end.
    disconnected: float | None = None
    #: When the answer had been written whole, or given up by the server itself.
    finished: float | None = None
    #: Connections are numbered in the order in which they came.
    connection: int = 0
    method: str = "POST"
    #: The address, with its query.
    path: str = ""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a model's name asks for."""

    name: str
    parameters: dict[str, str]

    @classmethod
    def parse(cls, model: str) -> Behaviour:
        """Read ``name?key=value&key=value``."""
        name, _, query = model.partition("?")
        return cls(name, dict(parse_qsl(query, keep_blank_values=True)))

    def number(self, key: str, default: float = 0) -> float:
        """Return a numeric parameter."""
        return float(self.parameters.get(key, default))

    def count(self, key: str, default: int = 0) -> int:
        """Return an integer parameter."""
        return int(self.parameters.get(key, default))

    def text(self, key: str, default: str = "") -> str:
        """Return a parameter as it is."""
        return self.parameters.get(key, default)


@dataclass(slots=True)
class Piece:
    """Bytes that go out together, in one segment or several, and how many tokens they hold."""

    segments: list[bytes]
    tokens: int = 0


class Dialect(ABC):
    """One API's way of saying things: each method returns the events for one thing."""

    #: What the service says about itself in an error when the behaviour does not name anything.
    error_mark = ""

    @abstractmethod
    def begin(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        """Say that the answer begins."""

    @abstractmethod
    def thought(self, text: str, behaviour: Behaviour) -> list[dict[str, Any]]:
        """Say a piece of reasoning."""

    @abstractmethod
    def token(self, text: str, behaviour: Behaviour) -> list[dict[str, Any]]:
        """Say a piece of the answer, or of a refusal if the behaviour has one."""

    @abstractmethod
    def failure(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        """Say that the answer has failed."""

    @abstractmethod
    def end(self, tokens: int, behaviour: Behaviour) -> list[dict[str, Any] | str]:
        """Say that the answer is complete, or why not, and what it cost."""

    @abstractmethod
    def error(self, status: int, behaviour: Behaviour) -> dict[str, Any]:
        """Return the body of a response with an error status."""

    def frame(self, data: dict[str, Any] | str, newline: str = "\n") -> bytes:
        """Frame an event."""
        return event(data, newline)

    def whole(self) -> dict[str, Any]:
        """Return an answer that is no stream."""
        return {"object": "whole"}


def event(data: dict[str, Any] | str, newline: str = "\n", name: str = "") -> bytes:
    """Frame one SSE event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"{f'event: {name}{newline}' if name else ''}data: {text}{newline}{newline}".encode()


def named_event(data: dict[str, Any] | str, newline: str = "\n") -> bytes:
    """Frame one SSE event that is named after its type."""
    return event(data, newline, "" if isinstance(data, str) else data["type"])


def http_chunk(body: bytes) -> bytes:
    """Frame bytes as one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(body), body)


def response(
    status: int, body: bytes, media_type: str = "application/json", headers: dict[str, str] | None = None
) -> bytes:
    """Build a whole response."""
    fields = {"content-type": media_type, "content-length": str(len(body)), "x-request-id": "req_upstream"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**fields, **(headers or {})}.items())
    return f"HTTP/1.1 {status} Fake\r\n{lines}\r\n".encode() + body
