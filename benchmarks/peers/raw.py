"""The floor: an ASGI app without a framework. ``/`` streams an answer, ``/fan`` follows what ``/start`` starts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from benchmarks.source import CLOSING, OPENING, Answer, frame, paced

if TYPE_CHECKING:
    from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope

HEADERS = [(b"content-type", b"text/event-stream")]

viewers: set[asyncio.Queue[bytes | None]] = set()
sources: set[asyncio.Task[None]] = set()


def start(status: int) -> Any:
    """An ASGI message with the head of the response."""
    return {"type": "http.response.start", "status": status, "headers": HEADERS}


def body(data: bytes, more: bool = True) -> Any:
    """An ASGI message with a piece of the response."""
    return {"type": "http.response.body", "body": data, "more_body": more}


async def app(scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Route a request."""
    if scope["path"] == "/start":
        task = asyncio.create_task(feed(Answer.from_query(scope["query_string"])))
        sources.add(task)
        task.add_done_callback(sources.discard)
        await send(start(202))
        await send(body(b"", more=False))
    elif scope["path"] == "/fan":
        await follow(send)
    else:
        await stream(Answer.from_query(scope["query_string"]), send)


async def stream(answer: Answer, send: ASGISendCallable) -> None:
    """Send an answer, one body message a token."""
    await send(start(200))
    await send(body(OPENING))
    async for text in paced(answer):
        await send(body(frame(text)))
    await send(body(CLOSING, more=False))


async def feed(answer: Answer) -> None:
    """Put each token, encoded once, into the queue of every viewer."""
    async for text in paced(answer):
        data = frame(text)
        for queue in viewers:
            queue.put_nowait(data)
    for queue in viewers:
        queue.put_nowait(None)


async def follow(send: ASGISendCallable) -> None:
    """Send what a viewer's queue brings."""
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()
    viewers.add(queue)
    await send(start(200))
    await send(body(OPENING))
    try:
        while (data := await queue.get()) is not None:
            await send(body(data))
        await send(body(CLOSING, more=False))
    finally:
        viewers.discard(queue)
