"""Fake services over real HTTP, which misbehave on demand and remember what they saw.

One server speaks the Chat Completions and Responses of OpenAI, the Messages of Anthropic and the generateContent of
Google, told apart by the address of a request.

In a test, in a thread of its own::

    with Upstream() as upstream:
        provider = OpenAIProvider(base_url=upstream.url, api_key="k")
        ... ask for the model "answer?tokens=5" ...
        exchange = upstream.exchanges[-1]
        assert exchange.tokens == 5
        upstream.wait_disconnect(exchange, timeout=1)   # for streams that the client closes

The waiting methods block; an async test calls them by ``await asyncio.to_thread(upstream.wait_disconnect, exchange)``,
since the client on its event loop has to go on.

In a process of its own: ``python -m tests.upstream [PORT]`` prints its base URL; ``GET /exchanges`` returns what it
saw as JSON.

The model's name says what happens: a behaviour, and parameters as in a query string.

=============  ===========================================================================================
``answer``     answers ``tokens`` (5) tokens, ``rate`` a second (0: at once), the first after ``first`` seconds,
               then usage and ``[DONE]``
``status``     answers ``code`` (500) with an error object, for the first ``times`` requests (0: always), then like
               ``answer``; ``retry_after`` and ``retry_after_ms`` are header values, ``error`` the object's code
``cut``        cuts the connection after ``after`` (2) tokens; ``how`` is ``rst`` or ``fin``
``unfinished`` ends in an orderly way after ``after`` tokens, without finish reason
``broken``     sends broken JSON after ``after`` tokens
``error``      sends an error object after ``after`` tokens; ``chunk=1``: inside of a normal chunk
``silent``     sends nothing more after ``after`` tokens; ``head=0``: not even a head
``html``       answers 200 with a page
``json``       answers 200 with a whole completion instead of a stream
``no_usage``   like ``answer``, but turns ``stream_options`` down with status ``code`` (400)
``script``     does what ``Upstream.script`` says: bytes (one segment), numbers (seconds to wait), ``RST``, ``FIN``,
               ``END`` (the last chunk of the body), ``GATE`` (nothing until ``Upstream.pass_gate``)
=============  ===========================================================================================

Parameters of every behaviour with tokens: ``reasoning=reasoning_content`` (or ``reasoning``) puts two reasoning tokens
in front, ``refusal=1`` sends a refusal instead of content, ``finish`` (stop), ``usage=0``, ``cost``, ``done=0`` leaves
``[DONE]`` out, ``crlf=1``, ``comments=1`` puts a comment before every event, ``huge`` is the length of every token,
``split=N`` sends every N bytes of an event as a segment of their own, ``joined=1`` sends everything at once,
``linger`` seconds pass between the last event and the end of the body.

Token ``n`` reads ``"tok{n} "`` unless ``huge`` is given. Every API has its own words for ``reasoning``, ``finish`` and
``error``, and does not have every one of these parameters: see ``upstream_chat``, ``upstream_responses``,
``upstream_anthropic`` and ``upstream_gemini``.

A response in the background is whole; ``cut`` and ``silent`` befall its first ``faults`` (1) connections, ``cut`` also
after so many ``bytes``, and both at a gate with ``gate=1``. ``Upstream.backgrounds`` has these responses, each with the
tokens that were generated.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from time import monotonic

from .upstream_acts import acts
from .upstream_gemini import model_of
from .upstream_responses import Background
from .upstream_wire import END, FIN, GATE, LAST, RST, Act, Exchange, response

__all__ = ["END", "FIN", "GATE", "RST", "Act", "Exchange", "Upstream"]

#: Browsers refuse the bad ports of the fetch standard, all of which are below.
LOWEST_PORT = 10_081
#: Seconds for what must come.
PATIENCE = 20.0


class Upstream:
    """The service, in a thread of this process while the ``with`` block lasts."""

    def __init__(self, port: int = 0) -> None:
        self.exchanges: list[Exchange] = []
        #: What the model ``script`` does.
        self.script: Sequence[Act] = ()
        #: Background responses by their id.
        self.backgrounds: dict[str, Background] = {}
        self._listener = listen(port)
        self._news = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="upstream", daemon=True)
        self._serving = threading.Event()
        self._connections: set[Connection] = set()
        self._gates: list[asyncio.Event] = []
        self.accepted = 0

    @property
    def url(self) -> str:
        """The base URL to give to a client."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    @property
    def root(self) -> str:
        """The same for clients that put the version into the path themselves."""
        return self.url.removesuffix("/v1")

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    def __enter__(self) -> Upstream:
        self._thread.start()
        # Its end may come at once: a loop that is only just beginning cannot be stopped.
        assert self._serving.wait(PATIENCE), "The upstream does not serve."
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def serve_forever(self) -> None:
        """Serve in this thread until interrupted."""
        self._serve()

    def wait(self, count: int, timeout: float = PATIENCE) -> Exchange:
        """Wait until ``count`` requests have come and return the last of these."""
        self._wait(lambda: len(self.exchanges) >= count, timeout, f"{count} requests")
        return self.exchanges[count - 1]

    def wait_tokens(self, exchange: Exchange, tokens: int, timeout: float = PATIENCE) -> None:
        """Wait until so many tokens of an answer have been sent."""
        self._wait(lambda: exchange.tokens >= tokens, timeout, f"{tokens} tokens")

    def wait_disconnect(self, exchange: Exchange, timeout: float = PATIENCE) -> float:
        """Wait until the client has closed the connection of a running answer; return when."""
        self._wait(lambda: exchange.disconnected is not None, timeout, "a disconnect")
        return exchange.disconnected or 0.0

    async def pass_gate(self) -> None:
        """Wait until a client has taken all that stands before a gate, and open it.

        Only for clients on the running event loop: on the loopback interface what has been sent is there, so it takes
        them some turns of the loop, and no time, to read it. A broken connection would make them forget the rest.
        """
        await asyncio.to_thread(self._wait, lambda: bool(self._gates), PATIENCE, "an answer at a gate")
        for _ in range(50):
            await asyncio.sleep(0)
        self._loop.call_soon_threadsafe(self._gates.pop(0).set)

    async def gate(self) -> None:
        """Let an answer wait."""
        opened = asyncio.Event()
        self._gates.append(opened)
        self.tell()
        await opened.wait()

    def wait_closed(self, timeout: float = PATIENCE) -> None:
        """Wait until no connection is open."""
        self._wait(lambda: not self._connections, timeout, "all connections to be closed")

    def _wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        with self._news:
            if not self._news.wait_for(condition, timeout):
                raise TimeoutError(f"The upstream waited {timeout} s for {what}.")

    def tell(self) -> None:
        """Wake whoever waits for news."""
        with self._news:
            self._news.notify_all()

    def joined(self, connection: Connection) -> int:
        """Count a connection."""
        self._connections.add(connection)
        self.accepted += 1
        return self.accepted

    def left(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self.tell()

    def _serve(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(loop.create_server(lambda: Connection(self), sock=self._listener))
        loop.call_soon(self._serving.set)
        try:
            loop.run_forever()
        finally:
            # What has been accepted becomes a connection first: Python's server loses it once it is closed.
            loop.remove_reader(self._listener)
            loop.run_until_complete(asyncio.sleep(0))
            server.close()
            for connection in list(self._connections):
                connection.transport.abort()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            asyncio.set_event_loop(None)


class Connection(asyncio.Protocol):
    """One connection; requests on it follow each other."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._received = b""
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._number = self._upstream.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note when the client left a running answer."""
        if self._exchange and self._exchange.finished is None:
            self._exchange.disconnected = monotonic()
        if self._task:
            self._task.cancel()
        self._upstream.left(self)

    def data_received(self, data: bytes) -> None:
        """Answer once a request is complete."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        request, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if not found or len(body) < length:
            return
        self._received = body[length:]
        if request.startswith("GET /exchanges"):
            seen = json.dumps([asdict(exchange) for exchange in self._upstream.exchanges]).encode()
            self._send(response(200, seen))
            return
        method, path, _ = request.split(" ")
        parsed = json.loads(body[:length] or b"{}")
        model = model_of(path) or parsed.get("model", "")
        self._exchange = Exchange(model, parsed, headers, connection=self._number, method=method, path=path)
        self._upstream.exchanges.append(self._exchange)
        self._upstream.tell()
        self._task = asyncio.get_running_loop().create_task(self._answer(self._exchange))

    def _send(self, data: bytes) -> None:
        self.transport.write(data)

    async def _answer(self, exchange: Exchange) -> None:
        upstream = self._upstream
        for act in acts(exchange, upstream.exchanges, upstream.script, upstream.backgrounds):
            if isinstance(act, bytes):
                self._send(act)
                upstream.tell()
            elif act == GATE:
                await upstream.gate()
            elif isinstance(act, str):
                exchange.finished = monotonic()
                self._end(act)
            else:
                await asyncio.sleep(act)
        exchange.finished = exchange.finished or monotonic()
        self._upstream.tell()

    def _end(self, how: str) -> None:
        if how == END:
            self._send(LAST)
            return
        if how == RST:
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.close()


def listen(port: int = 0) -> socket.socket:
    """Bind a loopback port that every client may connect to."""
    while True:
        listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        if port or listener.getsockname()[1] >= LOWEST_PORT:
            return listener
        listener.close()


@contextmanager
def nobody_there() -> Iterator[int]:
    """A loopback port at which nobody listens and, meanwhile, nobody else can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def main() -> None:
    """Serve as a process."""
    upstream = Upstream(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(upstream.url, flush=True)
    with suppress(KeyboardInterrupt):
        upstream.serve_forever()


if __name__ == "__main__":
    main()
