"""Thousands of SSE clients in a process of their own: ``python -m tests.chaos.crowd ORDER``, a JSON object.

A client costs a socket and a few hundred bytes, so that the load says something about the site and not about the
client. It keeps what came as it came and writes it down as the histories of ``record`` at the end; what it prints is a
JSON object of figures. It answers each line of its input with how it is, and ``stop`` with the figures.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import resource
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

_LINGER_ZERO: Final = struct.pack("ii", 1, 0)
#: A client that is refused comes back after up to so many seconds, twice as many each time, at most the second.
_BACKOFF: Final = 0.25, 2.0
#: Seconds that an answer to a request may take before the client gives it up.
_PATIENCE: Final = 60.0
#: The cookie of a stream's address, by which a client comes back to it; kept as a browser does.
_TICKET: Final = re.compile(rb"set-cookie: (llmstream_ticket=[^;]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Order:
    """What a crowd does.

    ``clients`` follow the ``conversations`` in turn, at first at the port that is their turn's of ``first``,
    later at a random one of ``ports``, as if a balancer stood there that knows which are alive. With ``cut_every`` each
    loses its connection about every so many seconds and comes back ``offline`` seconds later; else it comes back at
    once. ``silent`` clients never read, with a receive buffer of a few kilobytes. ``canaries`` go with
    ``conversations``.
    """

    clients: int
    directory: str
    cookie: str
    ports: Sequence[int]
    first: Sequence[int]
    conversations: Sequence[str]
    canaries: Sequence[str]
    name: str = "crowd"
    seed: str = "0"
    cut_every: float = 0.0
    offline: float = 0.0
    silent: bool = False
    #: Whether there is more to see after they have gone.
    leaves: bool = False
    #: Seconds over which the first connections are spread.
    ramp: float = 1.0


@dataclass(slots=True)
class Coming:
    """One return: when the client lost its connection, when it began to come back, when the stream had begun.

    ``ticket`` tells whether one came with it, as with every whole request.
    """

    lost: float
    tried: float
    back: float = 0.0
    ticket: bool = False


class Follower(asyncio.Protocol):
    """One client, over all its connections."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self._order = crowd.order
        self._turn = number % len(crowd.order.conversations)
        self._luck = random.Random(f"{crowd.order.seed}:{number}")
        self.number = number
        self.last_id = b""
        self._ticket = ""
        self.lines: list[bytes] = []
        self.comings: list[Coming] = []
        self.connected = False
        self._transport: asyncio.Transport | None = None
        self._lost = 0.0
        self._answered, self._gone = asyncio.Event(), asyncio.Event()
        self._reset()

    def _reset(self) -> None:
        self._head = bytearray()
        self._streaming = False
        self._raw = bytearray()
        self._left = 0
        self._block = bytearray()
        self._answered.clear()
        self._gone.clear()

    async def run(self) -> None:
        """Come and go until the crowd goes home."""
        await asyncio.sleep(self._luck.uniform(0, self._order.ramp))
        port, misses = self._order.first[self.number % len(self._order.first)], 0
        while True:
            coming = Coming(self._lost or time.time(), time.time())
            self.comings.append(coming)
            while not await self._connect(port):
                misses += 1
                await asyncio.sleep(self._luck.uniform(0, min(_BACKOFF[0] * 2**misses, _BACKOFF[1])))
                port = self._luck.choice(self._order.ports) if self._lost else port
            misses, self._lost = 0, self._lost or time.time()
            await self._stay()
            await asyncio.sleep(self._order.offline or self._luck.uniform(0, 0.5))
            port = self._luck.choice(self._order.ports)

    async def _connect(self, port: int) -> bool:
        """Open a connection and ask; return whether the stream has begun."""
        self._reset()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_PATIENCE):
                if self._order.silent:
                    sock = socket.socket()
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                    sock.setblocking(False)
                    await loop.sock_connect(sock, ("127.0.0.1", port))
                    await loop.create_connection(lambda: self, sock=sock)
                else:
                    await loop.create_connection(lambda: self, "127.0.0.1", port)
                assert self._transport is not None
                self._note({"do": "connect", "to": port, "with": self.last_id.decode()})
                self._transport.write(self._request())
                if self._order.silent:
                    self._transport.pause_reading()
                    return True
                await self._answered.wait()
        except (OSError, TimeoutError):
            self.leave()
            return False
        return self._streaming

    def _request(self) -> bytes:
        path = f"/llmstream/conversations/{self._order.conversations[self._turn]}/events/"
        cookies = self._order.cookie + self._ticket
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nCookie: {cookies}\r\n"
        resume = b"Last-Event-ID: " + self.last_id + b"\r\n" if self.last_id else b""
        return head.encode() + resume + b"\r\n"

    async def _stay(self) -> None:
        """Hold the connection until it is lost or, with ``cut_every``, cut."""
        stay = self._order.cut_every * self._luck.uniform(0.5, 1.5) if self._order.cut_every else None
        with suppress(TimeoutError):
            async with asyncio.timeout(stay):
                await self._gone.wait()
        self.leave()

    def leave(self) -> None:
        """Reset the connection, as a network does that goes away."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            self._transport.abort()
            self._dropped()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that it is gone; a later connection is not meant."""
        self._dropped()

    def _dropped(self) -> None:
        if self._transport is not None:
            self._transport = None
            if self.connected:
                self._crowd.inside -= 1
                self._crowd.cut += 1
            self._lost = time.time() if self.connected else self._lost
            self.connected = False
            self._note({"do": "cut", "why": "gone"})
            self._answered.set()
            self._gone.set()

    def data_received(self, data: bytes) -> None:
        """Find events in a chunked response."""
        if self._transport is None:
            return
        if not self._streaming:
            self._head += data
            head, found, rest = bytes(self._head).partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self._note({"do": "refused", "status": int(head.split(b" ")[1])})
                self.leave()
                return
            self._begun(head)
            data = rest
        self._raw += data
        self._unpack()

    def _begun(self, head: bytes) -> None:
        if found := _TICKET.search(head):
            self._ticket = f"; {found[1].decode()}"
        self.comings[-1].ticket = bool(found)
        self._streaming = self.connected = True
        self.comings[-1].back = time.time()
        self._crowd.inside += 1
        self._answered.set()

    def _unpack(self) -> None:
        raw = self._raw
        while raw:
            if self._left > 2:
                piece = raw[: self._left - 2]
                del raw[: len(piece)]
                self._left -= len(piece)
                self._take(piece)
            elif self._left:
                del raw[:1]
                self._left -= 1
            else:
                size, found, _ = raw.partition(b"\r\n")
                if not found:
                    return
                del raw[: len(size) + 2]
                self._left = int(size, 16) + 2

    def _take(self, data: bytearray) -> None:
        self._block += data
        *blocks, rest = self._block.split(b"\n\n")
        if not blocks:
            return
        self._block = rest
        now = b"%.4f" % time.time()
        for block in blocks:
            found = block.find(b"data: ")
            if found < 0:
                continue
            body, _, event_id = bytes(block[found + 6 :]).partition(b"\nid: ")
            self.last_id = event_id or self.last_id
            self.lines.append(b'{"do":"event","at":%b,"id":"%b","event":%b}' % (now, event_id, body))

    def _note(self, line: dict[str, Any]) -> None:
        self.lines.append(json.dumps({**line, "at": round(time.time(), 4)}).encode())

    def history(self) -> bytes:
        """Everything, as ``Recorder`` writes it."""
        about = {
            "do": "client",
            "client": f"{self._order.name}{self.number}",
            "conversation": self._order.conversations[self._turn],
            "canary": self._order.canaries[self._turn],
            "scope": "conversation",
            "leaves": self._order.leaves,
        }
        self._note({"do": "arrived", "id": self.last_id.decode()})
        return b"\n".join([json.dumps(about).encode(), *self.lines, b""])


@dataclass
class Crowd:
    """All clients of the process."""

    order: Order
    inside: int = 0
    cut: int = 0
    followers: list[Follower] = field(default_factory=list)

    async def run(self) -> dict[str, Any]:
        """Follow until told to stop; return the figures."""
        self.followers = [Follower(self, number) for number in range(self.order.clients)]
        tasks = [asyncio.create_task(follower.run()) for follower in self.followers]
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while (line := (await reader.readline()).strip()) and line != b"stop":
            self._report()
        for follower, task in zip(self.followers, tasks, strict=True):
            task.cancel()
            follower.leave()
        failed = [result for result in await asyncio.gather(*tasks, return_exceptions=True) if _is_failure(result)]
        directory = Path(self.order.directory)
        for follower in self.followers:
            (directory / f"client-{self.order.name}{follower.number}.jsonl").write_bytes(follower.history())
        return {"failed": [repr(error) for error in failed], "comings": list(self._comings())}

    def _report(self) -> None:
        """Say how many have their stream, how many were ever cut, and how far the one is that is furthest behind."""
        last = min(follower.last_id.decode() for follower in self.followers)
        print(json.dumps({"inside": self.inside, "cut": self.cut, "last": last}), flush=True)

    def _comings(self) -> Iterator[dict[str, Any]]:
        for follower in self.followers:
            for coming in follower.comings:
                yield {"client": follower.number, **asdict(coming)}


def _is_failure(result: object) -> bool:
    return isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError)


def main() -> None:
    """Read the order, follow, and print the figures."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    order = Order(**json.loads(sys.argv[1]))
    print(json.dumps(asyncio.run(Crowd(order).run())), flush=True)


if __name__ == "__main__":
    main()
