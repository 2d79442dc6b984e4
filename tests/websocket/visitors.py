"""A client of the socket in this process: sends frames, and waits for those that a test asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import orjson
from channels.testing import WebsocketCommunicator
from django.test import AsyncClient

from llmstream.database import run_db
from tests.asgi import application
from tests.http.client import cookies, signed_in
from tests.support import PATIENCE

Frame: TypeAlias = dict[str, Any]
PATH = "/ws/llmstream/"


def is_end(frame: Frame) -> bool:
    """Whether a frame carries a terminal event."""
    return bool(frame["type"] == "event" and frame["event"]["type"] == "message-end")


class Closed(Exception):
    """The server has closed the socket."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(str(code))


class Visitor:
    """One open socket. ``frames`` are all that came, in order."""

    def __init__(self, communicator: WebsocketCommunicator) -> None:
        self.frames: list[Frame] = []
        self._communicator = communicator
        self._seen = 0
        self._cut = False

    async def send(self, kind: str, **members: Any) -> None:
        """Send a frame."""
        await self.send_text(orjson.dumps({"type": kind, **members}).decode())

    async def send_text(self, text: str) -> None:
        """Send a text frame as it is."""
        await self._communicator.send_input({"type": "websocket.receive", "text": text})

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        await self._communicator.send_input({"type": "websocket.receive", "bytes": data})

    async def next(self) -> Frame:
        """Return the next frame; raises Closed."""
        message = await self._communicator.receive_output(PATIENCE)
        if message["type"] == "websocket.close":
            raise Closed(message.get("code", 1000))
        frame: Frame = orjson.loads(message["text"])
        self.frames.append(frame)
        return frame

    async def until(self, wanted: Callable[[Frame], object]) -> Frame:
        """Return the first frame from here on that is ``wanted``."""
        before = len(self.frames)
        try:
            async with asyncio.timeout(PATIENCE):
                while not wanted(frame := await self.next()):
                    pass
        except TimeoutError:
            raise AssertionError(f"not among {self.frames[before:]}") from None
        return frame

    async def seen(self, wanted: Callable[[Frame], object]) -> Frame:
        """Return a frame that has come, or else the first to come, that is ``wanted``."""
        return next((frame for frame in self.frames if wanted(frame)), None) or await self.until(wanted)

    async def ask(self, kind: str, **members: Any) -> Frame:
        """Send a frame with a ``ref`` of its own and return what answers it."""
        self._seen += 1
        ref = f"r{self._seen}"
        await self.send(kind, ref=ref, **members)
        return await self.until(lambda frame: frame.get("ref") == ref)

    async def event(self, kind: str) -> Frame:
        """Return the next event of a type, without its frame."""
        frame = await self.until(lambda frame: frame["type"] == "event" and frame["event"]["type"] == kind)
        event: Frame = frame["event"]
        return event

    async def end_of(self, generation: str) -> Frame:
        """Return the terminal event of a generation."""
        frame = await self.seen(lambda frame: is_end(frame) and frame["event"]["generation"] == generation)
        event: Frame = frame["event"]
        return event

    async def closed(self) -> int:
        """Read to the end; return the close code."""
        try:
            while True:
                await self.next()
        except Closed as closed:
            return closed.code

    async def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for a while."""
        return bool(await self._communicator.receive_nothing(seconds))

    async def cut(self) -> int:
        """Cancel the application, as servers do that shut down; return the close code that it leaves."""
        self._cut = True
        application = self._communicator.future
        application.cancel()
        await asyncio.wait({application}, timeout=PATIENCE)
        left = [self._communicator.output_queue.get_nowait() for _ in range(self._communicator.output_queue.qsize())]
        code: int = next(message["code"] for message in left if message["type"] == "websocket.close")
        return code

    async def leave(self) -> None:
        """Go away, as a closed page does."""
        if not self._cut:
            await self._communicator.disconnect(timeout=PATIENCE)

    @property
    def events(self) -> list[Frame]:
        """The events that came, without their frames."""
        return [frame["event"] for frame in self.frames if frame["type"] == "event"]


def narrow(taking: asyncio.Event) -> Any:
    """Return the application as a client meets it that takes nothing while ``taking`` is cleared."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def wait_and_send(message: Any) -> None:
            await taking.wait()
            await send(message)

        await application(scope, receive, wait_and_send)

    return app


@asynccontextmanager
async def visit(
    client: AsyncClient | str | None = "ann", *, app: Any = application, path: str = PATH, **headers: str
) -> AsyncIterator[Visitor]:
    """Open a socket with the cookies of a client, of a signed-in user, or with none; leave it at the end."""
    browser = (await run_db(signed_in, client))[0] if isinstance(client, str) else client
    given = {"host": "testserver", "origin": "http://testserver", **headers}
    if browser is not None:
        given["cookie"] = cookies(browser).decode()
    encoded = [(name.encode(), value.encode()) for name, value in given.items()]
    communicator = WebsocketCommunicator(app, path, headers=encoded)
    connected, _ = await communicator.connect(PATIENCE)
    assert connected
    visitor = Visitor(communicator)
    try:
        yield visitor
    finally:
        await visitor.leave()


async def handshake(app: Any, path: str, origin: bytes, query: bytes = b"", **headers: bytes) -> bool:
    """Whether a handshake with these bytes is accepted."""
    given = {b"host": b"testserver", b"origin": origin, **{name.encode(): value for name, value in headers.items()}}
    communicator = WebsocketCommunicator(app, path, headers=list(given.items()))
    communicator.scope["query_string"] = query
    connected, _ = await communicator.connect(PATIENCE)
    if connected:
        await communicator.disconnect(timeout=PATIENCE)
    return bool(connected)
