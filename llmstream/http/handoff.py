"""Run long-lived streams after Django's request cycle: one line in a site's ``asgi.py``.

Django keeps a thread and about 50 KB for every open streaming response. With ``StreamHandoff`` around the application a
stream view does what views do (middleware, sign-in, permission, parsing) and returns; then the cycle ends, and the
stream goes on in the same ASGI call without it.

    application = StreamHandoff(get_asgi_application())

A client that comes back to a stream with a ticket is let in without Django's request cycle, where the site wants that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from django.utils.module_loading import import_string

Scope: TypeAlias = dict[str, Any]
#: A mapping; servers and frameworks do not agree on a narrower type.
Message: TypeAlias = Any
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

SCOPE_KEY = "llmstream.handoff"
#: Response header by which a view says "the stream follows"; it never leaves the wrapper.
MARK = "X-Llmstream-Handoff"
_MARK = MARK.lower().encode()

#: The cookie by which a client comes back to a stream.
TICKET = "llmstream_ticket"
_TICKET = TICKET.encode() + b"="
#: By name: a site's ``asgi.py`` imports this module before there are models.
_RETURNING = "llmstream.http.returns.returning"


class HandedStream(Protocol):
    """A stream that sends its own body."""

    async def run(self, receive: Receive, send: Send) -> None:
        """Send the body of a response that has been started."""


class Handoff:
    """What a view leaves for the wrapper. Unless the marked response really comes out, nothing is handed over."""

    def __init__(self, send: Send) -> None:
        self.stream: HandedStream | None = None
        self.started = False
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass the response on; of a marked one only the head."""
        if self.started:
            return
        if message["type"] == "http.response.start" and self.stream is not None:
            headers = [(bytes(name).lower(), value) for name, value in message["headers"]]
            if any(name == _MARK for name, _ in headers):
                self.started = True
                headers = [(name, value) for name, value in headers if name not in (_MARK, b"content-length")]
                message = {**message, "headers": headers}
        await self._send(message)


def _has_ticket(scope: Scope) -> bool:
    if scope["method"] != "GET":
        return False
    return any(name.lower() == b"cookie" and _TICKET in value for name, value in scope["headers"])


class StreamHandoff:
    """ASGI middleware that gives stream views a place to run after the request cycle."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _has_ticket(scope) and (stream := await import_string(_RETURNING)(scope)) is not None:
            await stream.respond(receive, send)
            return
        handoff = Handoff(send)
        await self.app({**scope, SCOPE_KEY: handoff}, receive, handoff.send)
        if handoff.started and handoff.stream is not None:
            await handoff.stream.run(receive, send)
