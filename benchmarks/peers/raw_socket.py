"""The floor for sockets: an ASGI app without a framework. A socket at any path gets what is started at that path."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from benchmarks.source import Answer, paced

if TYPE_CHECKING:
    from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope

rooms: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)
sources: set[asyncio.Task[None]] = set()


async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Route a request."""
    assert scope["type"] != "lifespan"
    if scope["type"] == "websocket":
        await follow(rooms[scope["path"]], receive, send)
        return
    task = asyncio.create_task(feed(rooms[scope["path"]], Answer.from_query(scope["query_string"])))
    sources.add(task)
    task.add_done_callback(sources.discard)
    start: Any = {"type": "http.response.start", "status": 202, "headers": []}
    body: Any = {"type": "http.response.body", "body": b""}
    await send(start)
    await send(body)


async def feed(room: set[asyncio.Queue[str]], answer: Answer) -> None:
    """Put each token, encoded once, into the queue of every socket."""
    async for text in paced(answer):
        data = json.dumps({"type": "text-delta", "delta": text})
        for queue in room:
            queue.put_nowait(data)


async def follow(room: set[asyncio.Queue[str]], receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Send what a socket's queue brings until the client goes."""
    queue: asyncio.Queue[str] = asyncio.Queue()
    await receive()
    room.add(queue)
    accept: Any = {"type": "websocket.accept"}
    await send(accept)
    writing = asyncio.create_task(write(queue, send))
    try:
        while (await receive())["type"] != "websocket.disconnect":
            pass
    finally:
        writing.cancel()
        room.discard(queue)


async def write(queue: asyncio.Queue[str], send: ASGISendCallable) -> None:
    """Send what a queue brings."""
    while True:
        message: Any = {"type": "websocket.send", "text": await queue.get()}
        await send(message)
