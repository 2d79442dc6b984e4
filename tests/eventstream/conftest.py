"""Notifications that are sent, and clients that listen to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient

from llmstream.contrib.eventstream import receivers
from llmstream.contrib.eventstream.sender import close_sender, get_sender
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import Generation
from llmstream.signals import generation_finished
from tests.support import ended, take, until, within

#: Frames of django-eventstream's own.
_OWN = ("stream-open", "keep-alive")
#: Generations of whose end the receivers have heard.
FINISHED: set[int] = set()


@pytest.fixture
async def notifying(running: Engine) -> AsyncIterator[Engine]:
    """An engine of whose answers people are notified."""
    FINISHED.clear()
    notify()
    yield running
    generation_finished.disconnect(_note)
    receivers.disconnect()
    close_sender()


def notify() -> None:
    """Notify people from now on; ``FINISHED`` learns of an end when the receivers have, which are called first."""
    receivers.connect()
    generation_finished.disconnect(_note)
    generation_finished.connect(_note)


def _note(generation: Generation, **_: Any) -> None:
    FINISHED.add(generation.pk)


async def told(generation: Generation) -> None:
    """Wait until everybody has been notified of a generation's end."""
    await ended(generation)
    await until(lambda: generation.pk in FINISHED)
    await run_db(get_sender().flush)


def parse(body: bytes) -> list[dict[str, Any]]:
    """Return the notifications in whole frames, each with ``kind`` and ``id``."""
    found = []
    for frame in body.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in frame.split("\n") if ": " in line and not line.startswith(":"))
        if "event" in fields and fields["event"] not in _OWN:
            data = orjson.loads(fields.get("data") or "{}")
            found.append({**data, "kind": fields["event"], "id": fields.get("id", "")})
    return found


class Listener:
    """One open stream."""

    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        self.chunks = chunks
        self.body = b""

    @property
    def heard(self) -> list[dict[str, Any]]:
        """What came so far."""
        return parse(self.body)

    @property
    def kinds(self) -> list[str]:
        """The kinds of what came so far."""
        return [item["kind"] for item in self.heard]

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """Listen until a kind of notification has come, and return everything heard."""
        while kind not in self.kinds:
            self.body += await within(anext(self.chunks))
        return self.heard

    async def rest(self) -> list[dict[str, Any]]:
        """Listen until the server ends the stream, and return everything heard."""
        async for chunk in self.chunks:
            self.body += chunk
        return self.heard


@asynccontextmanager
async def listening(who: User, path: str = "", last: str = "") -> AsyncIterator[Listener]:
    """Somebody's stream of notifications, which is open."""
    client = AsyncClient()
    await client.aforce_login(who)
    headers = {"Last-Event-ID": last} if last else {}
    response: Any = await client.get(f"/notifications/{path}", headers=headers)
    assert response.status_code == 200, response.content
    async with aclosing(aiter(response.streaming_content)) as opened:
        listener = Listener(opened)
        listener.body = await take(opened, lambda body: b"stream-open" in body or b"stream-error" in body)
        yield listener
