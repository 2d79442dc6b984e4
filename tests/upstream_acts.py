"""What the fake upstream does about a request; see ``upstream`` for the behaviours and their parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .upstream_anthropic import Anthropic
from .upstream_chat import Chat
from .upstream_gemini import Gemini
from .upstream_responses import Background, Responses
from .upstream_wire import END, GATE, HEAD, RST, WORDS, Act, Behaviour, Dialect, Exchange, Piece, http_chunk, response

_FOREVER = 3600.0
#: Behaviours that stop after so many tokens.
_ENDLESS = {"cut": 2, "unfinished": 2, "broken": 2, "error": 2, "silent": 2}


def acts(
    exchange: Exchange, exchanges: Sequence[Exchange], script: Sequence[Act], backgrounds: dict[str, Background]
) -> Iterator[Act]:
    """Yield what the server does about a request."""
    path = urlsplit(exchange.path).path
    if "/responses/" in path:
        yield from _about(exchange, path, backgrounds)
        return
    behaviour = Behaviour.parse(exchange.model)
    if behaviour.name == "script":
        yield from script
        return
    dialect = _dialect(path)
    if refusal := _refusal(behaviour, dialect, exchange, exchanges):
        yield refusal
        return
    if behaviour.name == "silent" and not behaviour.count("head", 1):
        yield _FOREVER
    if exchange.body.get("background"):
        made = _generate(behaviour, f"resp_{len(backgrounds) + 1}")
        backgrounds[made.identity] = made
        yield from _follow(made, exchange, -1)
        return
    yield HEAD
    yield from _play(_split(behaviour, _events(behaviour, dialect)), exchange, monotonic())
    yield behaviour.number("linger")
    ends: dict[str, Act] = {"cut": behaviour.text("how", RST), "silent": _FOREVER}
    yield ends.get(behaviour.name, END)


def _dialect(path: str) -> Dialect:
    if path.endswith("/messages"):
        return Anthropic()
    if ":streamGenerateContent" in path:
        return Gemini()
    return Responses() if path.endswith("/responses") else Chat()


def _play(
    events: list[tuple[float, Piece]], exchange: Exchange, start: float, until: Background | None = None
) -> Iterator[Act]:
    """Send events when they are due, until a response has been cancelled."""
    for due, piece in events:
        if (wait := start + due - monotonic()) > 0:
            yield wait
        if until and until.cancelled:
            return
        exchange.tokens += piece.tokens
        for segment in piece.segments:
            yield http_chunk(segment)
            if len(piece.segments) > 1:
                yield 0.0


def _generate(behaviour: Behaviour, identity: str) -> Background:
    """Begin a background response; what the behaviour does wrong is done to the connections that read it."""
    faulty = behaviour.name in {"cut", "silent"}
    whole = Behaviour("answer", behaviour.parameters) if faulty else behaviour
    return Background(identity, behaviour, _events(whole, Responses(identity)))


def _follow(made: Background, exchange: Exchange, after: int) -> Iterator[Act]:
    """Send the events of a background response after a number, and do what its first ``faults`` connections suffer."""
    behaviour = made.behaviour
    made.connections += 1
    faulty = behaviour.name in {"cut", "silent"} and made.connections <= behaviour.count("faults", 1)
    events = made.events[after + 1 :]
    yield HEAD
    if faulty:
        events = list(_first(events, behaviour.count("after", _ENDLESS["cut"]), behaviour.count("bytes")))
    yield from _play(_split(behaviour, events), exchange, made.started, made)
    if faulty and behaviour.count("gate"):
        yield GATE
    fault: Act = behaviour.text("how", RST) if behaviour.name == "cut" else _FOREVER
    yield fault if faulty else END


def _first(events: list[tuple[float, Piece]], tokens: int, size: int) -> Iterator[tuple[float, Piece]]:
    """Yield the events up to so many tokens or, if there is a size, so many bytes."""
    for due, piece in events:
        if size:
            data = b"".join(piece.segments)
            yield due, Piece([data[:size]], piece.tokens if len(data) <= size else 0)
            if (size := size - len(data)) <= 0:
                return
        else:
            yield due, piece
            if (tokens := tokens - piece.tokens) <= 0:
                return


def _about(exchange: Exchange, path: str, backgrounds: dict[str, Background]) -> Iterator[Act]:
    """Read or cancel a background response."""
    identity, _, command = path.partition("/responses/")[2].partition("/")
    made = backgrounds.get(identity)
    if made is None or made.expired:
        yield response(400 if made else 404, json.dumps({"error": {"message": WORDS, "type": "fake"}}).encode())
    elif command == "cancel":
        if not made.over:
            made.cancelled = monotonic()
        yield response(200, json.dumps(made.state()).encode())
    else:
        query = parse_qs(urlsplit(exchange.path).query)
        yield from _follow(made, exchange, int(query.get("starting_after", ["-1"])[0]))


def _refusal(behaviour: Behaviour, dialect: Dialect, exchange: Exchange, exchanges: Sequence[Exchange]) -> bytes | None:
    """Return the answer of a request that gets no stream."""
    if behaviour.name == "html":
        return response(200, b"<!doctype html><title>Sign in</title>", "text/html")
    if behaviour.name == "json":
        return response(200, json.dumps(dialect.whole()).encode())
    if behaviour.name == "no_usage" and "stream_options" in exchange.body:
        return _error(behaviour.count("code", 400), behaviour, dialect)
    times = behaviour.count("times")
    before = sum(other.model == exchange.model for other in exchanges)
    if behaviour.name == "status" and (not times or before <= times):
        return _error(behaviour.count("code", 500), behaviour, dialect)
    return None


def _error(status: int, behaviour: Behaviour, dialect: Dialect) -> bytes:
    headers = {
        name: behaviour.text(key)
        for name, key in (("retry-after", "retry_after"), ("retry-after-ms", "retry_after_ms"))
        if behaviour.text(key)
    }
    return response(status, json.dumps(dialect.error(status, behaviour)).encode(), headers=headers)


def _token(number: int, behaviour: Behaviour) -> str:
    """Return the text of a token."""
    return f"{number}".rjust(behaviour.count("huge"), "x") if behaviour.count("huge") else f"tok{number} "


def _events(behaviour: Behaviour, dialect: Dialect) -> list[tuple[float, Piece]]:
    """Return the events of a stream and when each is due, in seconds from the start."""
    newline = "\r\n" if behaviour.count("crlf") else "\n"
    comment = f": hello{newline}{newline}".encode() if behaviour.count("comments") else b""
    rate, first = behaviour.number("rate"), behaviour.number("first")
    endless = behaviour.name in _ENDLESS
    tokens = behaviour.count("after", _ENDLESS[behaviour.name]) if endless else behaviour.count("tokens", 5)
    found: list[tuple[float, Piece]] = []

    def add(said: Sequence[dict[str, Any] | str], due: float, count: int = 0) -> None:
        for data in said:
            if isinstance(dialect, Responses) and isinstance(data, dict):
                data = {**data, "sequence_number": len(found)}
            found.append((due, Piece([comment + dialect.frame(data, newline)], count)))

    add(dialect.begin(behaviour), 0.0)
    if behaviour.text("reasoning"):
        for thought in ("think ", "hard"):
            add(dialect.thought(thought, behaviour), first)
    for number in range(tokens):
        due = first + (number / rate if rate else 0.0)
        add(dialect.token(_token(number, behaviour), behaviour), due, 1)
    end = found[-1][0]
    if behaviour.name == "broken":
        add(['{"id": "upstream", "type": "'], end)
    elif behaviour.name == "error":
        add(dialect.failure(behaviour), end)
    elif not endless:
        add(dialect.end(tokens, behaviour), end)
    return found


def _split(behaviour: Behaviour, events: list[tuple[float, Piece]]) -> list[tuple[float, Piece]]:
    """Cut events into segments, or put them all into one."""
    if not events:
        return events
    if behaviour.count("joined"):
        whole = b"".join(segment for _, piece in events for segment in piece.segments)
        return [(events[-1][0], Piece([whole], sum(piece.tokens for _, piece in events)))]
    if size := behaviour.count("split"):
        for _, piece in events:
            data = b"".join(piece.segments)
            piece.segments = [data[at : at + size] for at in range(0, len(data), size)]
    return events
