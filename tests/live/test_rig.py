"""The tools of the live tests can tell right from wrong."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import random
import socket
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
import sseclient
from hypothesis import given
from hypothesis import strategies as st

from tools.services.ports import free_port

from .clients import READERS, Call, connect, http_client, never
from .events import EventStreamParser, Frame, check_framing
from .history import Connection, History, Received, check, checksum
from .proxy import Cut, FaultProxy, serving

STREAM = b"retry: 100\n\n" + b"".join(
    b'event: text-delta\ndata: {"type":"text-delta","n":%d,"delta":"\xc3\xb6"}\nid: c.1.%012d\n\n' % (n, n)
    for n in range(5)
)


@asynccontextmanager
async def sending(body: bytes, chunk: int) -> AsyncIterator[int]:
    """A bare HTTP server that sends ``body`` in chunks; yields its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(body), chunk):
                piece = body[start : start + chunk]
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    async with serving(answer) as port:
        yield port


async def receive(url: str, got: bytearray) -> None:
    """Add a response's body to ``got`` as it arrives."""
    async with http_client() as client, client.stream("GET", url) as response:
        async for data in response.aiter_bytes():
            got += data


@pytest.mark.parametrize("rst", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("chunk", [1, 7, 10_000])
async def test_a_cut_lets_exactly_the_bytes_before_it_through(chunk: int, rst: bool) -> None:
    for size in (0, 1, 12, 50, len(STREAM) - 1):
        async with sending(STREAM, chunk) as port, FaultProxy(port, [Cut(body=size, rst=rst)]) as proxy:
            got = bytearray()
            with pytest.raises(httpx.TransportError):
                await receive(proxy.url, got)
            assert bytes(got) == STREAM[:size]
            assert (proxy.connections, proxy.broken) == (1, 1)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("count", range(5))
async def test_a_cut_lets_exactly_the_events_before_it_through(reader: str, count: int) -> None:
    async with sending(STREAM, 11) as port, FaultProxy(port, [Cut(events=count)]) as proxy:
        history = History()
        connection = await connect(READERS[reader], Call(proxy.url), history, until=never)
        assert connection.ended.startswith("cut")
        assert [event.data["n"] for event in connection.events] == list(range(count))
        whole = await connect(READERS[reader], Call(proxy.url), history, until=never)
        assert whole.ended == "end"
        assert [event.id for event in whole.events] == [f"c.1.{n:012d}" for n in range(5)]


async def test_a_proxy_cuts_what_is_open_and_refuses() -> None:
    async with sending(b"", 1) as port, FaultProxy(port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.opened.wait()
        assert proxy.cut_all(rst=True) == 1
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        proxy.refuse = True
        async with http_client() as client:
            with pytest.raises(httpx.TransportError):
                await client.get(proxy.url)


@given(
    st.lists(st.sampled_from([*"\r\n:ab \0", "id", "data", "event", "retry", ": ", "7", "ö", "🙂", "\ufeff"])),
    st.data(),
)
def test_the_reference_parser_does_not_depend_on_how_bytes_arrive(words: list[str], data: st.DataObject) -> None:
    body = "".join(words).encode()
    whole = EventStreamParser().feed(body)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    parser = EventStreamParser()
    pieces = [parser.feed(body[start:end]) for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert [frame for piece in pieces for frame in piece] == whole


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.text(st.characters(exclude_categories=["Cs"])), st.integers(1)))
)
def test_the_reference_parser_agrees_with_sseclient_on_our_framing(events: list[tuple[str, str, int]]) -> None:
    blocks = [f"event: {kind}\ndata: {json.dumps(text)}\nid: {number}\n\n" for kind, text, number in events]
    body = "retry: 5\n\n" + "".join(blocks)
    check_framing(body.encode())
    ours = EventStreamParser().feed(body.encode())
    theirs = sseclient.SSEClient(io.BytesIO(body.encode())).events()
    assert ours == [Frame(event.event, event.data, event.id or "", True) for event in theirs]


GENERATION = {"message": "m", "generation": "g"}


def truthful() -> History:
    """A history that is in order."""
    deltas = [
        Received(f"c.1.{n:012d}", "text-delta", {"type": "text-delta", **GENERATION, "part": 0, "delta": f"{n} "})
        for n in range(1, 5)
    ]
    end = {
        "type": "message-end",
        **GENERATION,
        "status": "completed",
        "text_length": 8,
        "checksum": checksum("1 2 3 4 "),
    }
    return History([Connection("", 200, [*deltas, Received("c.1.000000000005", "message-end", end)], "end")])


STORED = {"id": "m", "status": "completed", "parts": [{"type": "text", "text": "1 2 3 4 "}]}


def test_the_checker_accepts_the_truth() -> None:
    check(truthful(), "g", STORED)


@pytest.mark.parametrize("fault", ["lost", "twice", "swapped", "two ends", "after the end", "no end", "other text"])
def test_the_checker_finds(fault: str) -> None:
    history = truthful()
    events = history.connections[0].events
    match fault:
        case "lost":
            del events[1]
        case "twice":
            events.insert(1, events[1])
        case "swapped":
            events[1], events[2] = events[2], events[1]
        case "two ends":
            events.append(Received("c.1.000000000006", "message-end", events[-1].data))
        case "after the end":
            events.append(Received("c.1.000000000006", "usage", {"type": "usage", **GENERATION}))
        case "no end":
            del events[-1]
        case "other text":
            events[0] = Received(events[0].id, "text-delta", {**events[0].data, "delta": "9 "})
    with pytest.raises(AssertionError):
        check(history, "g", STORED)


async def test_what_is_accepted_while_a_proxy_ends_is_closed() -> None:
    with warnings.catch_warnings(record=True) as left_open:
        warnings.simplefilter("always", ResourceWarning)
        async with sending(b"", 1) as port:
            for turns in range(4):
                with socket.socket() as client:
                    client.setblocking(False)
                    async with FaultProxy(port) as proxy:
                        with suppress(BlockingIOError):
                            client.connect(("127.0.0.1", proxy.port))
                        for _ in range(turns):
                            await asyncio.sleep(0)
        gc.collect()
    assert not left_open


def test_a_port_is_given_out_once_and_a_server_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    port, draw = free_port(), random.randint
    drawn = iter([port])
    monkeypatch.setattr(random, "randint", lambda *limits: next(drawn, 0) or draw(*limits))
    assert free_port() != port
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))
