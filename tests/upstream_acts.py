"""What the fake upstream sends; see ``upstream`` for the behaviours and their parameters."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

RST: Final = "rst"
FIN: Final = "fin"
END: Final = "end"

#: One thing that the server does: send a segment, wait, or end the connection.
Act: TypeAlias = bytes | float | str


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


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Build a chunk of a stream; without ``delta`` it has no choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return {
        "id": "chatcmpl-upstream",
        "object": "chat.completion.chunk",
        "created": 1_750_000_000,
        "model": "fake",
        "choices": choices,
        "usage": None,
        **more,
    }


def event(data: dict[str, Any] | str, newline: str = "\n") -> bytes:
    """Frame one SSE event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"data: {text}{newline}{newline}".encode()


def http_chunk(body: bytes) -> bytes:
    """Frame bytes as one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(body), body)


HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n"
    b"x-request-id: req_upstream\r\n\r\n"
)
LAST = b"0\r\n\r\n"


def token(number: int, behaviour: Behaviour) -> str:
    """Return the text of a token."""
    return f"{number}".rjust(behaviour.count("huge"), "x") if behaviour.count("huge") else f"tok{number} "


def usage(behaviour: Behaviour, tokens: int) -> dict[str, Any]:
    """Return the usage figures of an answer."""
    figures: dict[str, Any] = {
        "prompt_tokens": 11,
        "completion_tokens": tokens,
        "total_tokens": 11 + tokens,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2 if behaviour.text("reasoning") else 0},
    }
    if cost := behaviour.text("cost"):
        figures["cost"] = float(cost)
    return figures


async def acts(exchange: Exchange, exchanges: Sequence[Exchange], script: Sequence[Act]) -> AsyncIterator[Act]:
    """Yield what the server does about a request."""
    behaviour = Behaviour.parse(exchange.model)
    if behaviour.name == "script":
        for act in script:
            yield act
        return
    if refusal := _refusal(behaviour, exchange, exchanges):
        yield refusal
        return
    if behaviour.name == "silent" and not behaviour.count("head", 1):
        yield 3600.0
    start = monotonic()
    events = _split(behaviour, _events(behaviour))
    yield HEAD
    for due, piece in events:
        if (wait := start + due - monotonic()) > 0:
            yield wait
        exchange.tokens += piece.tokens
        for segment in piece.segments:
            yield http_chunk(segment)
            if len(piece.segments) > 1:
                yield 0.0
    yield behaviour.number("linger")
    ends: dict[str, Act] = {"cut": behaviour.text("how", RST), "silent": 3600.0}
    yield ends.get(behaviour.name, END)


def _refusal(behaviour: Behaviour, exchange: Exchange, exchanges: Sequence[Exchange]) -> bytes | None:
    """Return the answer of a request that gets no stream."""
    if behaviour.name == "html":
        return response(200, b"<!doctype html><title>Sign in</title>", "text/html")
    if behaviour.name == "json":
        message = {"role": "assistant", "content": "whole"}
        return response(200, json.dumps({"choices": [{"message": message}]}).encode())
    if behaviour.name == "no_usage" and "stream_options" in exchange.body:
        return _error(behaviour.count("code", 400), "Unknown parameter: 'stream_options'.", behaviour)
    times = behaviour.count("times")
    before = sum(other.model == exchange.model for other in exchanges)
    if behaviour.name == "status" and (not times or before <= times):
        return _error(behaviour.count("code", 500), "The secret words of the service.", behaviour)
    return None


def _error(status: int, message: str, behaviour: Behaviour) -> bytes:
    error = {"message": message, "type": "fake", "code": behaviour.text("error") or None}
    headers = {
        name: behaviour.text(key)
        for name, key in (("retry-after", "retry_after"), ("retry-after-ms", "retry_after_ms"))
        if behaviour.text(key)
    }
    return response(status, json.dumps({"error": error}).encode(), headers=headers)


def response(
    status: int, body: bytes, media_type: str = "application/json", headers: dict[str, str] | None = None
) -> bytes:
    """Build a whole response."""
    fields = {"content-type": media_type, "content-length": str(len(body)), "x-request-id": "req_upstream"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**fields, **(headers or {})}.items())
    return f"HTTP/1.1 {status} Fake\r\n{lines}\r\n".encode() + body


@dataclass(slots=True)
class Piece:
    """Bytes that go out together, in one segment or several, and how many tokens they hold."""

    segments: list[bytes]
    tokens: int = 0


def _events(behaviour: Behaviour) -> list[tuple[float, Piece]]:
    """Return the events of a stream and when each is due, in seconds from the start."""
    newline = "\r\n" if behaviour.count("crlf") else "\n"
    rate, first = behaviour.number("rate"), behaviour.number("first")
    endless = {"cut": 2, "unfinished": 2, "broken": 2, "error": 2, "silent": 2}
    tokens = (
        behaviour.count("after", endless[behaviour.name]) if behaviour.name in endless else behaviour.count("tokens", 5)
    )
    field_name = "refusal" if behaviour.count("refusal") else "content"
    found: list[tuple[float, Piece]] = []

    def add(data: dict[str, Any] | str, due: float, count: int = 0) -> None:
        comment = f": hello{newline}{newline}".encode() if behaviour.count("comments") else b""
        found.append((due, Piece([comment + event(data, newline)], count)))

    add(chunk({"role": "assistant", "content": ""}), 0.0)
    if reasoning := behaviour.text("reasoning"):
        for thought in ("think ", "hard"):
            add(chunk({reasoning: thought}), first)
    for number in range(tokens):
        due = first + (number / rate if rate else 0.0)
        add(chunk({field_name: token(number, behaviour)}), due, 1)
    end = found[-1][0]
    if behaviour.name == "broken":
        add('{"id": "chatcmpl-upstream", "choices": [', end)
    elif behaviour.name == "error":
        error = {"message": "The secret words of the service.", "code": behaviour.text("error", "server_error")}
        in_chunk = chunk({"content": ""}, "error", error=error) if behaviour.count("chunk") else {"error": error}
        add(in_chunk, end)
    elif behaviour.name not in endless:
        add(chunk({}, behaviour.text("finish", "stop")), end)
        if behaviour.count("usage", 1):
            add(chunk(usage=usage(behaviour, tokens)), end)
        if behaviour.count("done", 1):
            add("[DONE]", end)
    return found


def _split(behaviour: Behaviour, events: list[tuple[float, Piece]]) -> list[tuple[float, Piece]]:
    """Cut events into segments, or put them all into one."""
    if behaviour.count("joined"):
        whole = b"".join(segment for _, piece in events for segment in piece.segments)
        return [(events[-1][0], Piece([whole], sum(piece.tokens for _, piece in events)))]
    if size := behaviour.count("split"):
        for _, piece in events:
            data = b"".join(piece.segments)
            piece.segments = [data[at : at + size] for at in range(0, len(data), size)]
    return events
