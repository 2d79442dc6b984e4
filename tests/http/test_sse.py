"""SSE framing: any event, read by a strict parser and by a client library, wherever the bytes are cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import orjson
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from llmstream.events import EventId, encode
from llmstream.http import sse
from llmstream.log.rows import Row

#: What UTF-8 can carry, with what parsers trip over made likely.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n\0\x0b\x0c\x1c\x85\u2028\u2029\ufeff:"))
KINDS = st.sampled_from(["text-delta", "message-end", "snapshot", "usage"])
BODIES = st.dictionaries(TEXTS, TEXTS | st.integers(-(2**31), 2**31) | st.none(), max_size=3)
EVENTS = st.builds(lambda kind, body: {**body, "type": kind}, KINDS, BODIES)
IDS = st.builds(lambda seq: str(EventId("x" * 22, 1, seq)), st.integers(0, 10**12 - 1))


class Received(NamedTuple):
    """An event as a client dispatches it."""

    event: str
    data: str
    id: str


class WHATWGParser:
    """The event stream interpretation of the HTML standard, byte by byte."""

    def __init__(self) -> None:
        self.events: list[Received] = []
        self.retry: int | None = None
        #: The id of the last event dispatched, which a reconnecting client sends.
        self.last_event_id = ""
        self._line = bytearray()
        self._after_cr = False
        self._id, self._event, self._data = "", "", list[str]()

    def feed(self, data: bytes) -> None:
        """Take bytes as they come from the network."""
        for byte in data:
            if byte == 0x0A and self._after_cr:
                self._after_cr = False
                continue
            self._after_cr = byte == 0x0D
            if byte in (0x0A, 0x0D):
                self._process(self._line.decode())
                self._line.clear()
            else:
                self._line.append(byte)

    def _process(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            self._dispatch()
        elif name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdecimal():
            self.retry = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        if self._data:
            self.events.append(Received(self._event or "message", "\n".join(self._data), self._id))
        self._event, self._data = "", []


def stream(events: list[tuple[dict[str, Any], str | None]]) -> Iterator[bytes]:
    """Frame events as a stream does; every second one with an id as a stored row."""
    yield sse.encode_retry(1_500)
    for number, (event, event_id) in enumerate(events):
        if event_id is not None and number % 2:
            yield sse.encode_row(Row(number, event["type"], None, encode(event)), event_id)
        else:
            yield sse.encode_event(event, event_id)
        yield sse.HEARD_HEARTBEAT


def expected(events: list[tuple[dict[str, Any], str | None]]) -> list[tuple[str, dict[str, Any], str]]:
    """Return what a client must get: an event without an id leaves the one before in force."""
    current, got = "", []
    for event, event_id in events:
        current = event_id or current
        got += [(event["type"], event, current), ("heartbeat", {"type": "heartbeat"}, current)]
    return got


STREAMS = st.lists(st.tuples(EVENTS, st.none() | IDS), max_size=6)


@given(STREAMS, st.data())
def test_a_strict_parser_gets_every_event_from_any_chunks(
    events: list[tuple[dict[str, Any], str | None]], data: st.DataObject
) -> None:
    body = b"".join(stream(events))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=5)))
    parser = WHATWGParser()
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        parser.feed(body[start:end])
    assert [(got.event, orjson.loads(got.data), got.id) for got in parser.events] == expected(events)
    assert parser.retry == 1_500


@given(STREAMS)
def test_httpx_sse_gets_every_event(events: list[tuple[dict[str, Any], str | None]]) -> None:
    response = httpx.Response(200, headers={"Content-Type": sse.CONTENT_TYPE}, content=b"".join(stream(events)))
    # Heartbeats and the opening retry come out as events without data.
    got = [(item.event, item.json(), item.id) for item in EventSource(response).iter_sse() if item.data]
    assert got == expected(events)


@given(STREAMS, st.data())
def test_a_cut_stream_never_takes_an_id_over_whose_event_was_lost(
    events: list[tuple[dict[str, Any], str | None]], data: st.DataObject
) -> None:
    body = b"".join(stream(events))
    parser = WHATWGParser()
    parser.feed(body[: data.draw(st.integers(0, len(body)))])
    got = len(parser.events)
    assert [(item.event, orjson.loads(item.data), item.id) for item in parser.events] == expected(events)[:got]
    assert parser.last_event_id == (parser.events[-1].id if parser.events else "")


@given(EVENTS, st.none() | IDS)
def test_a_frame_is_one_data_line_with_the_id_last(event: dict[str, Any], event_id: str | None) -> None:
    frame = sse.encode_event(event, event_id)
    assert frame.endswith(b"\n\n")
    assert b"\r" not in frame
    names = [line.partition(b": ")[0] for line in frame[:-2].split(b"\n")]
    assert names == [b"event", b"data", *([b"id"] if event_id else [])]
    if event_id:
        assert frame == sse.encode_row(Row(1, event["type"], None, encode(event)), event_id)
