"""HTTP for the openai package over aiohttp, with the response's body within reach.

The package brings an aiohttp client of its own, whose body stands behind four layers of generators. This one is read
directly: a third less CPU per token.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import aiohttp
import httpx2

from .byte_source import BODY


class Body(httpx2.AsyncByteStream):
    """A response's body as it comes from the connection, content coding not undone."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        #: Await the bytes that have come, ``b""`` at the end; raises aiohttp's own errors.
        self.readany = response.content.readany

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors():
            while chunk := await self.readany():
                yield chunk

    async def aclose(self) -> None:
        """Return a connection that was read to its end to the pool, and cut any other one at once."""
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            # close() would wait for the peer's part of the TLS shutdown while it goes on generating.
            connection.transport.abort()
        self._response.close()


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends requests over connections of one aiohttp session, which belongs to the event loop of the first request.

    The timeouts ``connect`` and ``read`` of a request apply, the latter to every wait for bytes of the response.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None, keepalive: float) -> None:
        self._ssl_context = ssl_context
        self._keepalive = keepalive
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; raises httpx2's errors."""
        timeout = request.extensions.get("timeout", {})
        content = await request.aread()
        with _errors(request):
            response = await self._open_session().request(
                request.method,
                str(request.url),
                headers=request.headers,
                data=content or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
            )
        body = Body(response)
        return httpx2.Response(
            response.status,
            headers=response.raw_headers,
            stream=body,
            request=request,
            extensions={"http_version": b"HTTP/1.1", BODY: body},
        )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=self._keepalive,
                ssl=True if self._ssl_context is None else self._ssl_context,
            )
            # Cookies and content codings are the business of the client on top.
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._session

    async def aclose(self) -> None:
        """Close the session and its connections."""
        if self._session is not None:
            await self._session.close()


@contextmanager
def _errors(request: httpx2.Request | None = None) -> Iterator[None]:
    """Raise aiohttp's errors as httpx2's, without their text, which may hold addresses."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        raise httpx2.ConnectTimeout("", request=request) from None
    except TimeoutError:
        raise httpx2.ReadTimeout("", request=request) from None
    except aiohttp.ClientConnectorError:
        raise httpx2.ConnectError("", request=request) from None
    except aiohttp.InvalidURL:
        raise httpx2.UnsupportedProtocol("", request=request) from None
    except aiohttp.ClientError:
        raise httpx2.ReadError("", request=request) from None
