"""Files that are written while they are sent, on any server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from ..database import run_db


def download(request: HttpRequest, chunks: Iterator[str], name: str, content_type: str) -> StreamingHttpResponse:
    """Answer with a file; every step of ``chunks`` does whole queries, so that any thread may take it."""
    body = _in_executor(chunks) if isinstance(request, ASGIRequest) else chunks
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingHttpResponse(body, content_type=content_type, headers=headers)


async def _in_executor(chunks: Iterator[str]) -> AsyncIterator[str]:
    while (chunk := await run_db(next, chunks, None)) is not None:
        yield chunk
