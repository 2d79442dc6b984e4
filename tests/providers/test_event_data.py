"""The data of server-sent events: the same events from any cut of the same bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstream.providers.event_data import EventData

LINES = st.sampled_from(
    [
        "data: a",
        "data:b",
        "data: ",
        "data:",
        "data",
        "data:  c",
        ": comment",
        ":",
        "event: x",
        "id: 1",
        "retry: 5",
        "",
        "",
    ]
)
NEWLINES = st.sampled_from(["\n", "\r\n"])


def expected(lines: list[str]) -> list[bytes]:
    """Read whole lines as the standard says, one at a time."""
    events: list[bytes] = []
    data: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        if not line and data:
            events.append("\n".join(data).encode())
            data = []
        elif name == "data" and ":" in line:
            data.append(value.removeprefix(" "))
    return events


def fed(data: bytes, cuts: list[int]) -> list[bytes]:
    """Feed ``data`` cut at these places."""
    reader = EventData()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [event for start, end in pairwise(places) for event in reader.feed(data[start:end])]


@given(st.lists(st.tuples(LINES, NEWLINES), max_size=30), st.lists(st.integers(0, 500), max_size=20))
def test_any_cut_gives_the_same_events(lines: list[tuple[str, str]], cuts: list[int]) -> None:
    data = "".join(line + newline for line, newline in lines).encode()
    assert fed(data, cuts) == expected([line for line, _ in lines])


def test_every_single_cut() -> None:
    data = 'data: {"a": 1}\n\n: x\r\ndata: wörld\r\n\r\ndata: [DONE]\n\n'.encode()
    for cut in range(len(data) + 1):
        assert fed(data, [cut]) == [b'{"a": 1}', "wörld".encode(), b"[DONE]"]


def test_a_cut_event_is_no_event() -> None:
    assert EventData().feed(b"data: one\n\ndata: tw") == [b"one"]
    assert EventData().feed(b"data: one\n\ndata: two\n") == [b"one"]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 60, b"data: 123456\n"])
def test_an_event_without_end_is_noticed(piece: bytes) -> None:
    reader = EventData(limit=100)
    reader.feed(piece)
    assert not reader.overflow
    for _ in range(20):
        reader.feed(piece)
    assert reader.overflow
