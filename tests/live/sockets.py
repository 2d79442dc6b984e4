"""A WebSocket client that shares no code with the library: PyPI ``websockets``."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from .clients import PATIENCE, Call
from .history import Received
from .servers import Account, LiveServer

Frame: TypeAlias = dict[str, Any]
PATH = "/ws/llmstream/"


@dataclass(eq=False)
class Socket:
    """One open socket; ``frames`` are all that came, in order."""

    connection: ClientConnection
    frames: list[Frame] = field(default_factory=list)

    async def send(self, kind: str, **members: Any) -> None:
        """Send a frame."""
        await self.connection.send(json.dumps({"type": kind, **members}))

    async def until(self, wanted: Callable[[Frame], object]) -> Frame:
        """Return the next frame that is ``wanted``; raises ConnectionClosed."""
        async with asyncio.timeout(PATIENCE):
            while True:
                frame: Frame = json.loads(await self.connection.recv())
                self.frames.append(frame)
                if wanted(frame):
                    return frame

    async def ask(self, kind: str, **members: Any) -> Frame:
        """Send a frame and return what answers it."""
        ref = f"r{len(self.frames)}"
        await self.send(kind, ref=ref, **members)
        return await self.until(lambda frame: frame.get("ref") == ref)

    async def end_of(self, generation: str) -> Frame:
        """Return the terminal event of a generation that has not come yet."""
        frame = await self.until(
            lambda frame: (
                frame.get("event", {}).get("type") == "message-end" and frame["event"]["generation"] == generation
            )
        )
        event: Frame = frame["event"]
        return event

    async def closed(self) -> int:
        """Read to the end; return the close code."""
        try:
            await self.until(lambda _: False)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
        raise AssertionError

    @property
    def events(self) -> list[Frame]:
        """The event frames that came."""
        return [frame for frame in self.frames if frame["type"] == "event"]


@asynccontextmanager
async def opened(
    server: LiveServer, account: Account | None, *, origin: str | None = "", receive_buffer: int = 0, **options: Any
) -> AsyncIterator[Socket]:
    """Open a socket with an account's cookies, from the server's own pages unless ``origin`` says otherwise."""
    cookies: Mapping[str, str] = account.cookies if account else {}
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    async with connect(
        server.url.replace("http", "ws") + PATH,
        sock=sock,
        origin=server.url if origin == "" else origin,  # type: ignore[arg-type]
        additional_headers=headers,
        open_timeout=PATIENCE,
        ping_interval=None,
        close_timeout=2.0,
        **{"max_size": None, "compression": None, **options},
    ) as connection:
        yield Socket(connection)


async def received(
    connection: ClientConnection, room: str, last_event_id: str, *, silence: float = PATIENCE
) -> AsyncIterator[Received]:
    """Join a room and yield its events as every other client's history keeps them, to the end of the socket.

    Raises TimeoutError after ``silence`` seconds without a frame, and ConnectionError with the code of an error frame.
    """
    await connection.send(json.dumps({"type": "join", "room": room, "last_event_id": last_event_id}))
    while True:
        async with asyncio.timeout(silence):  # ``wait_for`` of Python 3.11 may swallow a cancellation
            frame = json.loads(await connection.recv())
        if frame["type"] == "event":
            yield Received(frame["id"] or "", frame["event"]["type"], frame["event"])
        elif frame["type"] == "error":
            raise ConnectionError(frame["error"]["code"])
        else:
            assert frame["type"] in {"joined", "presence", "pong"}, frame


async def read_socket(call: Call) -> AsyncIterator[Received]:
    """Join the room that a call for its events names, and yield what comes.

    A socket that breaks, is silent for longer than the call's timeout, or brings an error, is a ConnectionError.
    """
    base, _, rest = call.url.partition("/llmstream/conversations/")
    cookies = "; ".join(f"{name}={value}" for name, value in call.cookies.items())
    try:
        async with connect(
            base.replace("http", "ws") + PATH,
            origin=base,  # type: ignore[arg-type]
            additional_headers={"Cookie": cookies},
            open_timeout=call.timeout,
            close_timeout=0.2,
            ping_interval=None,
            max_size=None,
        ) as connection:
            room, last_event_id = rest.partition("/")[0], call.headers.get("Last-Event-ID", "")
            async for event in received(connection, room, last_event_id, silence=call.timeout):
                yield event
    except (WebSocketException, OSError) as error:
        raise ConnectionError from error
