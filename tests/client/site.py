"""A site whose sockets, streams and answers do what a test says, when it says so."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from socket import create_server
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote
from urllib.request import urlopen

import uvicorn

STATIC = Path(__file__).resolve().parent.parent.parent / "llmstream" / "static"
CSRF_TOKEN = "token"
#: Seconds until something that must happen is missed; a browser on a busy machine takes its time.
PATIENCE = 30.0
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "style-src 'self'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

Scope = dict[str, Any]
Receive = Callable[[], Coroutine[Any, Any, dict[str, Any]]]
Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]


class Peer:
    """What one connection of a browser hears, said by a test from its own thread."""

    def __init__(self, scope: Scope) -> None:
        self.path: str = scope["path"]
        self.raw_path = scope["raw_path"].decode()
        self.query: str = unquote(scope["query_string"].decode())
        self.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self._loop = asyncio.get_running_loop()
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.gone = threading.Event()

    def say(self, message: dict[str, Any]) -> None:
        """Send an ASGI message."""
        self._loop.call_soon_threadsafe(self._said.put_nowait, message)

    def wait_gone(self) -> None:
        """Return once the browser has closed the connection."""
        assert self.gone.wait(PATIENCE), "the connection is still there"

    async def speak(self, send: Send) -> None:
        """Pass on what is said until it is the last."""
        last = False
        while not last:
            message = await self._said.get()
            await send(message)
            last = message["type"] == "websocket.close" or message.get("more_body") is False


class Socket(Peer):
    """One WebSocket."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.frames: queue.Queue[dict[str, Any]] = queue.Queue()

    def frame(self, kind: str) -> dict[str, Any]:
        """The next frame of a type; what came before it is passed over."""
        while (frame := self.frames.get(timeout=PATIENCE))["type"] != kind:
            pass
        return frame

    def send(self, kind: str, **fields: Any) -> None:
        """Send a frame."""
        self.say({"type": "websocket.send", "text": json.dumps({"type": kind, **fields})})

    def event(self, event_id: str | None, kind: str, *, room: str = "c", **fields: Any) -> None:
        """Send an event of a room's log."""
        self.send("event", room=room, id=event_id, event={"type": kind, **fields})

    def admit(self, **fields: Any) -> dict[str, Any]:
        """Let the next one who joins a room in; return the frame that asked."""
        join = self.frame("join")
        self.send("joined", ref=join["ref"], room=join["room"], role="writer", **fields)
        return join

    def close(self, code: int = 1011) -> None:
        """Close the socket; as after a crash by default."""
        self.say({"type": "websocket.close", "code": code, "reason": ""})


class Request(Peer):
    """One HTTP request of the client; a test answers it."""

    def __init__(self, scope: Scope, body: bytes) -> None:
        super().__init__(scope)
        self.method: str = scope["method"]
        self.json: Any = json.loads(body) if body else None

    def answer(self, status: int, body: object = None, *, content_type: str = "application/json") -> None:
        """Answer completely."""
        text = body if isinstance(body, str) else json.dumps(body)
        self._start(status, content_type)
        self.say({"type": "http.response.body", "body": b"" if status == 204 else text.encode(), "more_body": False})

    def stream(self, **ready: Any) -> Request:
        """Begin an event stream, with this told at its beginning."""
        self._start(200, "text/event-stream")
        self.event(None, "ready", **ready)
        return self

    def event(self, event_id: str | None, kind: str, **fields: Any) -> None:
        """Send an event on the stream."""
        text = f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n" + (
            f"id: {event_id}\n" if event_id else ""
        )
        self.say({"type": "http.response.body", "body": f"{text}\n".encode(), "more_body": True})

    def end(self) -> None:
        """End the stream."""
        self.say({"type": "http.response.body", "body": b"", "more_body": False})

    def _start(self, status: int, content_type: str) -> None:
        headers = [(b"content-type", content_type.encode()), (b"cache-control", b"no-store")]
        self.say({"type": "http.response.start", "status": status, "headers": headers})


class Site:
    """Serves the client's modules and an empty page under a strict content policy, and leaves the rest to the test."""

    def __init__(self) -> None:
        # Taken at once: a port that is only free may be somebody else's a moment later.
        listener = create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        #: What becomes of handshakes: ``accept``, ``refuse`` or ``hang``.
        self.handshakes = "accept"
        #: The content policy of its page.
        self.policy = POLICY
        #: Modules of a test's own, by their path.
        self.modules: dict[str, str] = {}
        self._sockets: queue.Queue[Socket] = queue.Queue()
        self._requests: queue.Queue[Request] = queue.Queue()
        options: dict[str, Any] = {"interface": "asgi3", "lifespan": "off", "log_level": "warning"}
        config = uvicorn.Config(self._app, ws="websockets-sansio", ws_ping_interval=None, **options)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the scripted site did not start"
            threading.Event().wait(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(PATIENCE)

    def socket(self) -> Socket:
        """The next handshake."""
        return self._sockets.get(timeout=PATIENCE)

    def request(self) -> Request:
        """The next request but for files."""
        return self._requests.get(timeout=PATIENCE)

    def forget(self) -> None:
        """Drop what no test has taken, once no more of it can come: the browser is gone."""
        # What has connected before is known once this has been answered.
        urlopen(self.url, timeout=PATIENCE).close()
        state, deadline = self._server.server_state, time.monotonic() + PATIENCE
        while state.connections or state.tasks:
            assert time.monotonic() < deadline, "the browser is still there"
            time.sleep(0.002)
        self._sockets, self._requests = queue.Queue(), queue.Queue()

    @property
    def untouched(self) -> bool:
        """Whether all handshakes and requests have been taken."""
        return self._sockets.empty() and self._requests.empty()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["path"].startswith("/static/") or scope["path"] in {"/", *self.modules}:
            await self._file(scope["path"], send)
        else:
            await self._http(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        socket = Socket(scope)
        behaviour = self.handshakes
        self._sockets.put(socket)
        if behaviour == "refuse":
            await send({"type": "websocket.close", "code": 1008})
            return
        if behaviour == "accept":
            await send({"type": "websocket.accept"})
        speaking = asyncio.create_task(socket.speak(send))
        while (message := await receive())["type"] == "websocket.receive":
            socket.frames.put(json.loads(message["text"]))
        speaking.cancel()
        socket.gone.set()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        request = Request(scope, body)
        self._requests.put(request)
        speaking = asyncio.create_task(request.speak(send))
        leaving = asyncio.create_task(receive())
        await asyncio.wait({speaking, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            request.gone.set()
        for task in (speaking, leaving):
            task.cancel()

    async def _file(self, path: str, send: Send) -> None:
        if path in self.modules:
            body = self.modules[path].encode()
        else:
            body = b"<!doctype html><title>Page</title>" if path == "/" else (STATIC / path[8:]).read_bytes()
        kind = mimetypes.guess_type(path)[0] or "text/html"
        headers = [(b"content-type", kind.encode()), (b"content-security-policy", self.policy.encode())]
        headers.append((b"set-cookie", f"csrftoken={CSRF_TOKEN}; Path=/".encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
