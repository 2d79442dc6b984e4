"""An open event stream and the one factory that answers with it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import ExitStack, aclosing, suppress
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from ..access import Access
from ..conf import get_settings
from ..engine import Engine, get_engine
from ..events import ERROR, READY, ROTATE, WireEvent
from ..exceptions import (
    DatabaseUnavailable,
    LLMStreamError,
    NotAuthenticated,
    NotFound,
    StreamingUnavailable,
)
from ..formats import WireFormat
from ..permissions import Requester
from ..readers import Reader, Start
from ..transport import abort_of
from . import sse
from .handoff import MARK, SCOPE_KEY, Handoff
from .places import Places

logger = logging.getLogger("llmstream.http")

_RETRY_MS = (1_000, 2_000)
_RETRY_BUSY_MS = (3_000, 10_000)
_RETRY_ROTATE_MS = (50, 250)
#: What is longer goes out in pieces of so many bytes: a server holds one of them beyond its own limit, not all, and a
#: client that takes one in time is slow, not stuck.
_PIECE = 16_384


class EventStream:
    """One client's stream: the reader's events, heartbeats, a bounded life. Its body never raises.

    An exception in a streaming body hangs the client and breaks Daphne, so a failure becomes an ``error`` event.
    """

    def __init__(self, engine: Engine, start: Start, access: Access, wire: WireFormat[Any] = sse.FORMAT) -> None:
        self.access = access
        self._engine = engine
        self._conversation = start.conversation
        self._refusal: LLMStreamError | None = None
        self._reader = Reader(engine.hub, start, wire)
        self._task: asyncio.Task[Any] | None = None
        self._body: AsyncGenerator[bytes, None] | None = None
        self._disconnected = False
        self._writing = False
        asked = any(event["type"] == READY for event, _ in start.preface)
        self._heartbeat = sse.HEARD_HEARTBEAT if asked else sse.HEARTBEAT
        self._cut: Callable[[], None] | None = None
        lifetime = get_settings().stream_lifetime
        self._deadline = engine.loop.time() + lifetime * random.uniform(0.9, 1.1)  # noqa: S311
        self._moved = engine.loop.time()

    def body(self) -> AsyncGenerator[bytes, None]:
        """Return the frames. They end with a terminal event, ``rotate`` or ``error``: no client has to guess."""
        self._body = self._bounded()
        return self._body

    async def _bounded(self) -> AsyncGenerator[bytes, None]:
        with ExitStack() as held:
            try:
                held.enter_context(self._engine.part(Places).place(self.access))
            except LLMStreamError as error:
                yield self.refused(error)
                return
            self._task = asyncio.current_task()
            self._engine.streams.add(self)
            held.callback(self._engine.streams.discard, self)
            self._engine.wake()
            async with aclosing(self._frames()) as frames:
                async for frame in frames:
                    for begin in range(0, len(frame), _PIECE):
                        self._moved, self._writing = self._engine.loop.time(), True
                        yield frame[begin : begin + _PIECE]
                        self._writing = False
                    frame = b""  # It may be large, and long until the next one.

    def refused(self, error: LLMStreamError) -> bytes:
        """Return the whole body of a stream for which there is no room."""
        return error_frames(error)

    async def _frames(self) -> AsyncGenerator[bytes, None]:
        opening = sse.encode_retry(random.randint(*_RETRY_MS))  # noqa: S311
        heartbeat = get_settings().heartbeat
        try:
            async with aclosing(self._reader.chunks()) as chunks:
                async for chunk in chunks:
                    if self._refusal:
                        yield error_frames(self._refusal)
                        return
                    if opening or chunk:
                        chunk, opening = opening + (chunk or b""), b""
                        yield chunk
                        chunk = None  # Not kept while the next one is awaited.
                    elif self._engine.loop.time() - self._moved >= heartbeat:
                        yield self._heartbeat
                    if self._engine.loop.time() >= self._deadline and not self._reader.ended:
                        yield sse.encode_event({"type": ROTATE}, None) + _retry_frame(_RETRY_ROTATE_MS)
                        return
        except NotFound as error:
            yield error_frames(error)
        except DatabaseError:
            logger.warning("The database failed under a stream", exc_info=True)
            yield error_frames(DatabaseUnavailable())
        except Exception:
            logger.exception("A stream broke off")
            yield error_frames(LLMStreamError())

    def tick(self, now: float) -> None:
        """Give up a client that takes nothing; wake the reader when a heartbeat or the end of its life is due."""
        settings = get_settings()
        if self._task and self._body and self._task.done():
            # Cut off in a write, Django closes only its own generator around this one.
            self._engine.streams.discard(self)
            self._engine.spawn(self._body.aclose())
        elif self._writing and now - self._moved > settings.write_timeout:
            self._give_up()
        elif self._refusal or now - self._moved >= settings.heartbeat or now >= self._deadline:
            self._reader.nudge()

    def _give_up(self) -> None:
        if self._cut:
            self._cut()  # The server then tells that the client is gone.
        elif self._task:
            self._task.cancel()

    def shown(self) -> tuple[int, ...]:
        """Return the conversation that the stream shows."""
        return (self._conversation,)

    def review(self, requester: Requester | None, readable: Collection[int]) -> None:
        """End the stream when its client is no longer signed in or may no longer read the conversation."""
        if requester is None:
            self._refusal = NotAuthenticated()
        elif self._conversation not in readable:
            self._refusal = NotFound()
        if self._refusal:
            self._reader.nudge()

    async def respond(self, receive: Callable[[], Any], send: Callable[[dict[str, Any]], Any]) -> None:
        """Send a whole ASGI response; returns as ``run`` does."""
        headers = {"Content-Type": sse.CONTENT_TYPE, **sse.HEADERS}
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": encoded})
        await self.run(receive, send)

    async def run(self, receive: Callable[[], Any], send: Callable[[dict[str, Any]], Any]) -> None:
        """Send the body of an ASGI response that has been started; returns when it ends or the client is gone."""
        self._cut = abort_of(send)
        task = asyncio.current_task()
        watcher = self._engine.loop.create_task(self._watch(receive, task))
        try:
            async with aclosing(self.body()) as frames:
                async for frame in frames:
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            if not self._disconnected:
                raise
        except OSError:
            pass  # the client went away while we wrote
        finally:
            watcher.cancel()
            if self._disconnected and task:
                # Our own cancellation may still be on its way, and is no business of whoever called us.
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
                task.uncancel()

    async def _watch(self, receive: Callable[[], Any], task: asyncio.Task[Any] | None) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._disconnected = True
        if task:
            task.cancel()


def error_event(error: LLMStreamError) -> WireEvent:
    """Return the transport error event; it is not stored and has no id."""
    return {"type": ERROR, **error.envelope()}


def error_frames(error: LLMStreamError) -> bytes:
    """Frame a transport error, and the time after which the client may come back when it is a passing one."""
    frame = sse.encode_event(error_event(error), None)
    return (_retry_frame(_RETRY_BUSY_MS) if error.temporary else b"") + frame


def _retry_frame(between: tuple[int, int]) -> bytes:
    return sse.encode_retry(random.randint(*between))  # noqa: S311


async def stream_response(request: HttpRequest, start: Start, access: Access) -> HttpResponseBase:
    """Answer with an event stream; raises StreamingUnavailable under WSGI.

    Behind ``StreamHandoff`` the stream begins when Django's request cycle is over. Without it the same body is
    answered as Django's own streaming response.
    """
    check_streaming(request)
    return respond(request, EventStream(get_engine(), start, access), sse.CONTENT_TYPE)


def respond(request: HttpRequest, stream: EventStream, content_type: str) -> HttpResponseBase:
    """Answer an ASGI request with a stream."""
    handoff: Handoff | None = request.scope.get(SCOPE_KEY)  # type: ignore[attr-defined]
    if handoff is not None:
        handoff.stream = stream
        return HttpResponse(b"", content_type=content_type, headers={**sse.HEADERS, MARK: "1"})
    # A Content-Encoding of its own keeps GZipMiddleware away, which before Django 6.1 garbles or holds streams back.
    headers = {**sse.HEADERS, "Content-Encoding": "identity"}
    return StreamingHttpResponse(stream.body(), content_type=content_type, headers=headers)


def stream_error_response(error: LLMStreamError) -> HttpResponse:
    """Answer a stream request with a passing failure: any status but 200 would end an EventSource for good."""
    return HttpResponse(error_frames(error), content_type=sse.CONTENT_TYPE, headers=sse.HEADERS)


def check_streaming(request: HttpRequest) -> None:
    """Raise StreamingUnavailable when the server speaks WSGI, where a stream would be collected before it is sent."""
    if not isinstance(request, ASGIRequest):
        raise StreamingUnavailable
