"""The Channels consumer of the WebSocket interface."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from channels.consumer import AsyncConsumer
from django.core.handlers.asgi import ASGIRequest

from .engine import get_engine
from .sockets.connection import Socket


class ChatConsumer(AsyncConsumer):  # type: ignore[misc]
    """One socket with many rooms; see docs/websocket.md.

    Takes the messages of the server itself: Channels' dispatcher hears nothing while a handler runs, and hops to a
    thread for every frame.
    """

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one WebSocket connection."""
        await Socket(get_engine(), send).run(receive, handshake_request(scope))


def handshake_request(scope: dict[str, Any]) -> ASGIRequest:
    """Return the handshake as a request, so that one ``identify`` of the policy serves every transport.

    It has headers, cookies and query, and the ``session`` and ``user`` that the site's middleware found. Bytes of the
    query that are no UTF-8 are replaced.
    """
    query = scope.get("query_string", b"").decode(errors="replace")
    request = ASGIRequest({**scope, "type": "http", "method": "GET", "query_string": query}, BytesIO())
    for name in ("session", "user"):
        if name in scope:
            setattr(request, name, scope[name])
    return request
