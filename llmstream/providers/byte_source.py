"""The shortest way to the bytes of a response."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from typing import Final, Protocol

import httpx2

#: The key in a response's ``extensions`` under which its transport may put a ``ByteSource``.
BODY: Final = "llmstream.body"


class ByteSource(Protocol):
    """A response's decoded body."""

    def readany(self) -> Awaitable[bytes]:
        """Await the bytes that have come, ``b""`` at the end; raises one of ``READ_ERRORS``."""


class _DecodedBody:
    """Reads through httpx2, which undoes content codings."""

    def __init__(self, response: httpx2.Response) -> None:
        self._chunks: AsyncGenerator[bytes, None] = response.aiter_bytes()

    async def readany(self) -> bytes:
        return await anext(self._chunks, b"")


def byte_source(response: httpx2.Response) -> ByteSource:
    """Return the body of a response: the connection's own where there is one to be had and nothing to be decoded."""
    body: ByteSource | None = response.extensions.get(BODY)
    coding = response.headers.get("content-encoding", "identity")
    return body if body is not None and coding == "identity" else _DecodedBody(response)
