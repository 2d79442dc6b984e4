"""Files as the tests attach them, and a storage that keeps them in memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import orjson
from django.conf import settings
from django.core.files.storage import Storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient, override_settings

from llmstream.attachment import attachment_storage
from llmstream.models import Conversation
from tests.http.client import conversation_path
from tests.support import echo, model, site

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 24
PDF = b"%PDF-1.7\n%%EOF\n"
ACCEPTED = ["image/*", "application/pdf", "text/*"]


@contextmanager
def attaching(script: Any = echo, *, takes: Any = ACCEPTED, **changed: Any) -> Iterator[Storage]:
    """A site whose model takes files; yields the storage that they are kept in."""
    models = changed.pop("models", None) or {"default": model(script, ATTACHMENTS=takes)}
    with ExitStack() as stack:
        # A new one, which is empty.
        stack.enter_context(override_settings(STORAGES=settings.STORAGES))
        stack.enter_context(site(models=models, **{"ALLOW_ANONYMOUS": True, **changed}))
        yield attachment_storage()


def file(content: bytes = PNG, name: str = "photo.png", content_type: str = "image/png") -> SimpleUploadedFile:
    """Return a file as a form takes it."""
    return SimpleUploadedFile(name, content, content_type)


async def upload(client: AsyncClient, found: Conversation | str, *args: Any, **headers: Any) -> Any:
    """Upload a file, and return the response."""
    path = found if isinstance(found, str) else conversation_path(found, "attachments/")
    return await client.post(path, {"file": file(*args)}, headers=headers)


async def uploaded(client: AsyncClient, found: Conversation | str, *args: Any) -> dict[str, Any]:
    """Upload a file, and return the part that it becomes."""
    response = await upload(client, found, *args)
    assert response.status_code == 201, response.content
    part: dict[str, Any] = orjson.loads(response.content)
    return part


def kept(storage: Storage) -> list[str]:
    """Return the files that a storage has."""
    try:
        return storage.listdir("llmstream")[1]
    except FileNotFoundError:
        return []


def png(side: int) -> bytes:
    """Return a grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + b"\x80" * side) * side))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")
