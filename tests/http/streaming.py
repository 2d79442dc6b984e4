"""What tests of open streams share: answers to read, and clients that keep a stream open."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from llmstream.engine import Engine
from llmstream.generations.endings import stop
from llmstream.log.group import commit
from llmstream.models import Conversation, Generation
from tests.http.client import Call, generation_path, own
from tests.log.test_group import write
from tests.support import PATIENCE, ask, until


def answered(name: str = "ann") -> Generation:
    """Return a finished generation that has said something."""
    sent = ask(own(name))
    commit([write(sent, "Hello ", "world")])
    stop(sent.generation.pk)
    return Generation.objects.select_related("conversation").get(pk=sent.generation.pk)


def opened(name: str = "ann") -> Conversation:
    """Return a conversation in which something has been asked and nothing goes on."""
    return answered(name).conversation


@asynccontextmanager
async def opening(call: Call) -> AsyncIterator[asyncio.Task[None]]:
    """Keep a stream open for the block; its client goes away with it."""
    task = asyncio.create_task(call())
    try:
        yield task
    finally:
        call.gone.set()
        call.taking.set()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), PATIENCE)


def frames(body: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream."""
    return [orjson.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: ")]


def start_of(generation: Generation, rest: str = "events/") -> str:
    """Return the address that replays a generation from its beginning."""
    first = f"{generation.conversation.public_id}.1.{0:012d}"
    return f"{generation_path(generation.public_id, rest)}?last_event_id={first}"


def without_retry(body: bytes) -> bytes:
    """Leave the random times out."""
    return re.sub(rb"retry: \d+\n\n", b"retry\n\n", body)


async def idle(running: Engine) -> None:
    """Return when no stream is left, nor anything that one needed."""
    await until(lambda: not running.streams and not running.hub.topics)
    await until(lambda: not [task for task in asyncio.all_tasks() if "http" in str(task.get_coro())])
