"""Requests on the whole site in this process, as bytes that no client library would send."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.asgi import application
from tests.http.client import TOKEN


class RawResponse(NamedTuple):
    """A response, of a stream what came first."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> str:
        """Return a header, empty when it is not there."""
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name), "")


def page_headers(cookie: bytes) -> dict[bytes, bytes]:
    """Return the headers of a signed-in page's requests."""
    return {
        b"cookie": cookie + b"; csrftoken=" + TOKEN.encode(),
        b"x-csrftoken": TOKEN.encode(),
        b"content-type": b"application/json",
        b"host": b"testserver",
    }


async def exchange(
    method: str,
    path: str,
    query: bytes = b"",
    headers: Mapping[bytes, bytes] | None = None,
    body: bytes = b"",
    *,
    app: Any = application,
) -> RawResponse:
    """Make a request; hang up once a stream has some body. Raises TimeoutError when the site hangs."""
    gone = asyncio.Event()
    sent: list[Any] = []
    incoming = [{"type": "http.request", "body": body}]

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if message.get("body") and message.get("more_body"):
            gone.set()

    given = {**(headers or {})}
    if body:
        given.setdefault(b"content-length", str(len(body)).encode())
    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": list(given.items())}
    async with asyncio.timeout(30):
        await app(scope, receive, send)
    return RawResponse(
        sent[0]["status"], list(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])
    )
