"""A stored file as a response. Nothing in it does anything on the site's origin, whatever a browser takes it for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import suppress
from typing import Any, Final

from django.core.files.base import File
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotModified, StreamingHttpResponse
from django.utils.http import content_disposition_header

from ..database import release_connections
from ..exceptions import NotFound
from ..file_types import INLINE
from ..models import Attachment

_CHUNK_BYTES: Final = 262_144
_HEADERS: Final = {
    # A browser may keep it, and asks each time whether it is still permitted.
    "Cache-Control": "private, no-cache",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def file_response(request: HttpRequest, row: Attachment) -> HttpResponseBase:
    """Answer with the file of an attachment; raises NotFound when the storage has it no more. Blocks."""
    etag = f'"{row.public_id}"'
    if request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified(headers={**_HEADERS, "ETag": etag})
    try:
        file = row.file.open("rb")
    except FileNotFoundError:
        raise NotFound from None
    finally:
        release_connections()  # of a storage that keeps its files in a database
    headers = {**_HEADERS, "ETag": etag, "Content-Length": str(row.size)}
    if disposition := content_disposition_header(row.content_type not in INLINE, row.name):
        headers["Content-Disposition"] = disposition
    body = _in_threads(file) if isinstance(request, ASGIRequest) else _chunks(file)
    return StreamingHttpResponse(body, content_type=row.content_type, headers=headers)


def _chunks(file: File[Any]) -> Generator[bytes, None, None]:
    with file:
        yield from file.chunks(_CHUNK_BYTES)


async def _in_threads(file: File[Any]) -> AsyncIterator[bytes]:
    chunks = _chunks(file)
    try:
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield chunk
    finally:
        with suppress(ValueError):  # A thread is still at it, after which the file is closed with its generator.
            chunks.close()
