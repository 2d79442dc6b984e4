"""An ASGI application without Django that shows what a proxy in front of it does."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

FLOOD_BYTES: Final = 64 * 1024 * 1024
_BLOCK: Final = b": nothing\n" * 6_400


class Site:
    """``/who`` says which process answers and what it was sent; ``/held`` streams one event, and the next one after
    ``/release``; ``/flood`` streams far more than sockets hold, and ``/flooded`` says of which kinds it has got rid
    of all; a WebSocket gets its own frames back.
    """

    def __init__(self) -> None:
        self._released = asyncio.Event()
        self._flooded: list[str] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._echo(receive, send)
        elif scope["path"] == "/held":
            await _begin(send, unbuffered=True)
            await _write(send, b"data: first\n\n")
            await self._released.wait()
            await _write(send, b"data: second\n\n", last=True)
        elif scope["path"] == "/release":
            self._released.set()
            await _reply(send, "released")
        elif scope["path"] == "/flood":
            kind = scope["query_string"].decode()
            await _begin(send, unbuffered=kind == "unbuffered")
            for _ in range(FLOOD_BYTES // len(_BLOCK)):
                await _write(send, _BLOCK)
            self._flooded.append(kind)
            await _write(send, b"", last=True)
        elif scope["path"] == "/flooded":
            await _reply(send, self._flooded)
        else:
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            await _reply(send, {"pid": os.getpid(), "headers": headers})

    async def _echo(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})


async def _begin(send: Send, *, unbuffered: bool) -> None:
    headers = [(b"content-type", b"text/event-stream"), *([(b"x-accel-buffering", b"no")] if unbuffered else [])]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _write(send: Send, body: bytes, *, last: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": not last})


async def _reply(send: Send, value: object) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await _write(send, json.dumps(value).encode(), last=True)


application = Site()
