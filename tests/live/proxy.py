"""A TCP proxy that breaks connections where a test says."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

_LINGER_ZERO = struct.pack("ii", 1, 0)


async def close_listener(server: asyncio.Server) -> None:
    """Accept nothing more; what has been accepted becomes a connection first: Python's server loses it otherwise."""
    for listener in server.sockets:
        asyncio.get_running_loop().remove_reader(listener)
    await asyncio.sleep(0)
    server.close()


@asynccontextmanager
async def serving(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[int]:
    """Answer loopback connections while the block lasts; yields the port. At its end all of them are closed."""
    tasks: set[asyncio.Task[None]] = set()
    transports: WeakSet[asyncio.WriteTransport] = WeakSet()
    closed = False

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if closed:
            writer.transport.abort()
            return
        transports.add(writer.transport)
        task = asyncio.get_running_loop().create_task(answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        closed = True
        await close_listener(server)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for transport in list(transports):
            transport.abort()


@dataclass(frozen=True, slots=True)
class Cut:
    """Where one connection breaks: after ``events`` whole events or ``body`` bytes of its first response's body.

    Bytes are counted without chunk framing; ``raw`` counts all that the server sends, whatever it speaks. ``head`` lets
    nothing of the response through: the request was carried out and nobody heard. ``rst`` resets the connection,
    otherwise it ends with FIN.
    """

    events: int | None = None
    body: int | None = None
    raw: int | None = None
    head: bool = False
    rst: bool = False


class ResponseMeter:
    """Watches the raw bytes of one HTTP/1.1 response and finds the place of a cut in them."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._state = self._in_head
        self._head = bytearray()
        self._size = bytearray()
        self._left = 0
        self._block = bytearray()
        self.body = 0
        self.events = 0
        self.raw = 0

    def feed(self, data: bytes) -> int | None:
        """Return how many bytes of ``data`` lie before the cut, or None when all of it does."""
        if self._cut.head:
            return 0
        if self._cut.raw is not None:
            before, self.raw = self.raw, self.raw + len(data)
            return self._cut.raw - before if self.raw >= self._cut.raw else None
        for index, byte in enumerate(data):
            if self._state(byte):
                return index + 1
        return None

    def _in_head(self, byte: int) -> bool:
        self._head.append(byte)
        if not self._head.endswith(b"\r\n\r\n"):
            return False
        chunked = b"transfer-encoding: chunked" in bytes(self._head).lower()
        self._state = self._in_size if chunked else self._in_body
        return self._cut.body == 0 or self._cut.events == 0

    def _in_size(self, byte: int) -> bool:
        self._size.append(byte)
        if self._size.endswith(b"\n"):
            self._left = int(self._size.split(b";")[0], 16)
            self._size.clear()
            self._state = self._in_chunk if self._left else self._after
        return False

    def _in_chunk(self, byte: int) -> bool:
        if self._left == 0:  # the line end after a chunk
            if byte == 0x0A:
                self._state = self._in_size
            return False
        self._left -= 1
        return self._in_body(byte)

    def _in_body(self, byte: int) -> bool:
        self.body += 1
        self._block.append(byte)
        if self._block.endswith(b"\n\n"):
            self.events += b"data:" in self._block
            self._block.clear()
        return self.body == self._cut.body or (not self._block and self.events == self._cut.events)

    def _after(self, byte: int) -> bool:
        return False


class FaultProxy:
    """Forwards loopback connections to ``port``; the n-th connection breaks as the n-th of ``cuts`` says.

    Connections beyond the list, and those whose entry is None, are left alone. ``refuse`` resets new connections at
    once and ``latency`` (seconds) delays every chunk of a response.
    """

    def __init__(self, port: int, cuts: Iterable[Cut | None] = (), *, latency: float = 0.0) -> None:
        self._target = port
        self._cuts = list(cuts)
        self._open: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        #: Also of connections that are over, but for what an end has not taken yet.
        self._transports: WeakSet[asyncio.WriteTransport] = WeakSet()
        self._server: asyncio.Server | None = None
        self.latency = latency
        self.refuse = False
        self.port = 0
        self.connections = 0
        self.broken = 0
        #: Set once a connection has been passed on.
        self.opened = asyncio.Event()

    @property
    def url(self) -> str:
        """Base URL without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Connections open now."""
        return len(self._open)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        server, self._server = self._server, None
        await close_listener(server)
        self.cut_all(rst=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for transport in list(self._transports):
            transport.abort()

    def cut_of(self, number: int) -> Cut | None:
        """Where the connection with this number breaks."""
        return self._cuts[number] if number < len(self._cuts) else None

    def cut_all(self, *, rst: bool) -> int:
        """Break every open connection; return how many there were."""
        pairs = list(self._open)
        for pair in pairs:
            self._break(pair, rst=rst)
        return len(pairs)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            writer.transport.abort()
            return
        self._transports.add(writer.transport)
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Also of a task that was cancelled before it began.
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        try:
            upstream_reader, upstream = await self._dial()
        except OSError:
            self._break([writer], rst=True)
            return
        self._transports.add(upstream.transport)
        cut = self.cut_of(number)
        pair = writer, upstream
        self._open.add(pair)
        self.opened.set()
        try:
            with suppress(OSError):
                async with asyncio.TaskGroup() as group:
                    request = group.create_task(self._request(reader, upstream))
                    if await self._response(upstream_reader, writer, cut):
                        self._break(pair, rst=cut is not None and cut.rst)
                    request.cancel()
        except* OSError:
            pass
        finally:
            self._open.discard(pair)
            for end in pair:
                end.close()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.refuse:
            raise ConnectionRefusedError
        return await asyncio.open_connection("127.0.0.1", self._target)

    async def _request(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self.carry(data, upstream, back=False)
        # The client is gone: the server must hear of it.
        upstream.close()

    async def _response(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: Cut | None) -> bool:
        """Forward the response; return whether it has come to its cut."""
        meter = ResponseMeter(cut) if cut else None
        while data := await reader.read(65_536):
            place = meter.feed(data) if meter else None
            await self.carry(data[:place], writer, back=True)
            if place is not None:
                return True
        return False

    async def carry(self, data: bytes, to: asyncio.StreamWriter, *, back: bool) -> None:
        """Pass bytes on, ``back`` to the client or forth to the server."""
        if back and self.latency:
            await asyncio.sleep(self.latency)
        to.write(data)
        await to.drain()

    def _break(self, ends: Iterable[asyncio.StreamWriter], *, rst: bool) -> None:
        self.broken += 1
        for end in ends:
            if not rst:
                end.close()
                continue
            if sock := end.get_extra_info("socket"):
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            end.transport.abort()
