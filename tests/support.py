"""What the in-process tests share: models that a test speaks for, a clean engine per test, and rows to begin with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, TypeAlias, TypeVar

import orjson
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS
from django.test import override_settings

from llmstream.database import run_db, write_transaction
from llmstream.engine import Engine
from llmstream.events import GENERATION_START, MESSAGE_END, PART_KINDS, text_checksum
from llmstream.generations.prompts import Prompt, Sent, send
from llmstream.log.reading import read_rows
from llmstream.models import Conversation, Event, Generation, Message
from llmstream.providers.base import Finish, ProviderRequest
from llmstream.testing.engines import PATIENCE as PATIENCE
from llmstream.testing.engines import close_background_engine as close_background_engine
from llmstream.testing.engines import close_engine as close_engine
from llmstream.testing.engines import running_engine
from llmstream.testing.playing import Player, played_by

T = TypeVar("T")
Script: TypeAlias = Player

clean_engine = running_engine
model = played_by


class Upstream:
    """A model whose parts the test hands over one by one; an exception handed over is raised."""

    def __init__(self) -> None:
        self.requests: list[ProviderRequest] = []
        self.called = asyncio.Event()
        self.closed = asyncio.Event()
        self._parts: asyncio.Queue[Any] = asyncio.Queue()

    async def __call__(self, request: ProviderRequest) -> AsyncGenerator[Any, None]:
        """Play the model."""
        self.requests.append(request)
        self.called.set()
        try:
            while (part := await self._parts.get()) is not None:
                if isinstance(part, BaseException):
                    raise part
                yield part
        finally:
            self.closed.set()

    def say(self, *parts: Any) -> None:
        """Let the model say something."""
        for part in parts:
            self._parts.put_nowait(part)

    def finish(self, reason: str = "stop") -> None:
        """Let the model end by itself."""
        self.say(Finish(reason), None)


async def echo(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Answer with the last prompt, at once."""
    yield request.messages[-1].content
    yield Finish("stop")


def site(script: Script = echo, *, models: Mapping[str, Any] | None = None, **changed: Any) -> override_settings:
    """Override LLMSTREAM with one model played by ``script``, or with ``models``, and ``changed`` settings."""
    named = {"default": model(script)} if models is None else models
    return override_settings(LLMSTREAM={"MODELS": named, **changed})


@contextmanager
def changed(**values: Any) -> Iterator[None]:
    """Override some settings of the LLMSTREAM dict in force."""
    with override_settings(LLMSTREAM={**django_settings.LLMSTREAM, **values}):
        yield


def user(name: str = "ann") -> User:
    """Return a user, created on first use."""
    return get_user_model().objects.get_or_create(username=name)[0]


def conversation(**fields: Any) -> Conversation:
    """Create a conversation."""
    return Conversation.objects.create(**fields)


def ask(conversation: Conversation, content: str = "Hi", **fields: Any) -> Sent:
    """Send a prompt; its generation is claimed but runs nowhere."""
    return send(conversation.pk, Prompt(content, **fields))


async def asked(running: Engine, content: str = "Hi", **fields: Any) -> Sent:
    """Start a conversation by a prompt, run by ``running``."""
    return await ask_in(running, await run_db(conversation), content, **fields)


async def ask_in(running: Engine, conversation: Conversation, content: str = "Hi", **fields: Any) -> Sent:
    """Send a prompt and let ``running`` run it as soon as it may."""
    sent = await run_db(ask, conversation, content, **fields)
    if sent.claim:
        running.start(sent.claim)
    elif not sent.repeated:
        running.await_turn(conversation.pk)
    return sent


def stored(conversation: Conversation | int) -> list[dict[str, Any]]:
    """Return a conversation's events as the wire shows them, with ``seq``."""
    pk = conversation if isinstance(conversation, int) else conversation.pk
    return [{"seq": row.seq, **orjson.loads(row.data)} for row in read_rows(pk, 0)]


def types(events: list[dict[str, Any]]) -> list[str]:
    """Return the types of events."""
    return [event["type"] for event in events]


def text_of(events: list[dict[str, Any]], generation: str | None = None) -> str:
    """Return the text that the deltas add up to."""
    deltas = (event for event in events if event["type"] in PART_KINDS)
    return "".join(event["delta"] for event in deltas if generation in (None, event["generation"]))


async def within(awaitable: Coroutine[Any, Any, T] | asyncio.Future[T], seconds: float = PATIENCE) -> T:
    """Await something that must come in time."""
    async with asyncio.timeout(seconds):
        return await awaitable


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until ``condition``, which must not touch the database, holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


async def ended(generation: Generation, seconds: float = PATIENCE) -> Generation:
    """Return the generation once it has ended."""
    async with asyncio.timeout(seconds):
        while (now := await run_db(_with_message, generation.pk)).status in Generation.ACTIVE:
            await asyncio.sleep(0.005)
    return now


async def stored_one(conversation: Conversation, kind: str, seconds: float = PATIENCE) -> dict[str, Any]:
    """Return the newest event of a type once there is one."""
    async with asyncio.timeout(seconds):
        while not (found := [event for event in await run_db(stored, conversation) if event["type"] == kind]):
            await asyncio.sleep(0.005)
    return found[-1]


def _with_message(pk: int) -> Generation:
    return Generation.objects.select_related("message", "conversation").get(pk=pk)


async def take(chunks: AsyncGenerator[bytes, None], wanted: Callable[[bytes], object]) -> bytes:
    """Collect chunks until what came satisfies ``wanted``."""
    body = b""
    async with asyncio.timeout(PATIENCE):
        async for chunk in chunks:
            body += chunk
            if wanted(body):
                return body
    raise AssertionError(f"ended before what was wanted came: {body!r}")


async def drain(chunks: AsyncGenerator[bytes, None]) -> bytes:
    """Collect chunks to the end."""
    async with asyncio.timeout(PATIENCE), aclosing(chunks):
        return b"".join([chunk async for chunk in chunks])


def check_log(conversation: Conversation | int) -> list[dict[str, Any]]:
    """Check what holds of every log, and return its events.

    Positions without a hole up to the head; per generation one start at most, one terminal event at most, nothing after
    it; the deltas add up to the stored message, and the rows agree with the log. The log stands still meanwhile.
    """
    pk = conversation if isinstance(conversation, int) else conversation.pk
    with write_transaction(DEFAULT_DB_ALIAS):
        head = Conversation.objects.select_for_update().get(pk=pk).head
        events = stored(pk)
        assert [event["seq"] for event in events] == list(range(1, head + 1))
        for generation in Generation.objects.filter(conversation=pk).select_related("message"):
            told = [event for event in events if event.get("generation") == generation.public_id]
            _check_generation(generation, told)
        assert Event.objects.filter(conversation=pk).count() == len(events)
    return events


def _check_generation(generation: Generation, events: list[dict[str, Any]]) -> None:
    names = types(events)
    assert names.count(GENERATION_START) <= 1
    ends = [event for event in events if event["type"] == MESSAGE_END]
    if generation.status in Generation.ACTIVE:
        assert not ends
        return
    assert len(ends) == 1
    assert names[-1] == MESSAGE_END
    assert ends[0]["seq"] == generation.end_seq == generation.message.end_seq
    assert ends[0]["status"] == generation.status == generation.message.status
    joined = "".join(part["text"] for part in generation.message.parts if part["type"] in PART_KINDS.values())
    assert text_of(events) == joined
    assert ends[0]["text_length"] == len(generation.message.text)
    assert ends[0]["checksum"] == text_checksum(generation.message.text)


def message_ids(conversation: Conversation) -> list[str]:
    """Return the public ids of a conversation's messages, oldest first."""
    return list(Message.objects.filter(conversation=conversation).values_list("public_id", flat=True))
