"""From the bytes of an event stream to provider parts, for every service that answers in server-sent events."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import httpx2
import orjson

from ..exceptions import ProviderError, ProviderMalformed, ProviderTimeout, ProviderTruncated
from .base import Keepalive, ProviderPart, ReasoningDelta
from .byte_source import ByteSource, byte_source
from .event_data import EventData
from .http_client import READ_ERRORS

_DONE = b"[DONE]"
#: How long usage figures may take after the finish reason; the answer is complete without them.
_USAGE_WAIT = 5.0
#: How long the end of a body may lag behind its last event before its connection is given up.
_LAST_BYTES = 0.05


class EventReader(ABC):
    """Turns the event data of one stream into provider parts, in order; texts that follow each other are joined.

    ``done`` is set by the last event, ``finished`` by a finish reason, ``failure`` by an error object or by data that
    cannot be read. After ``done`` or a failure there is nothing more to read.
    """

    __slots__ = ("_parts", "done", "failure", "finished")

    def __init__(self) -> None:
        self.done = False
        self.finished = False
        self.failure: ProviderError | None = None
        self._parts: list[ProviderPart] = []

    def read(self, events: Sequence[bytes]) -> list[ProviderPart]:
        """Return the parts that ``events`` hold, a ``Keepalive`` when there are none."""
        parts = self._parts = []
        try:
            for data in events:
                if data == _DONE:
                    self.done = True
                    break
                self._event(orjson.loads(data))
        except ProviderError as error:
            self.failure = error
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
            self.failure = ProviderMalformed()
        return parts or [Keepalive()]

    @abstractmethod
    def _event(self, event: dict[str, Any]) -> None:
        """Add an event's parts; raises what went wrong as a ProviderError, and any common error for unreadable data."""

    def _text(self, text: str) -> None:
        parts = self._parts
        if parts and isinstance(last := parts[-1], str):
            parts[-1] = last + text
        else:
            parts.append(checked(text))

    def _reasoning(self, text: str) -> None:
        parts = self._parts
        if parts and isinstance(last := parts[-1], ReasoningDelta):
            parts[-1] = ReasoningDelta(last.text + text)
        else:
            parts.append(ReasoningDelta(checked(text)))


def checked(text: object) -> str:
    """Return a text; raises TypeError for anything else."""
    if isinstance(text, str):
        return text
    raise TypeError


async def read_answer(
    open_response: Callable[[], Awaitable[httpx2.Response]], reader: EventReader
) -> AsyncGenerator[ProviderPart, None]:
    """Open a response and yield the parts of its event stream; its connection is closed with the generator."""
    response = await open_response()
    try:
        events, source = EventData(), byte_source(response)
        while not reader.done and (chunk := await _read(source, reader)):
            for part in reader.read(events.feed(chunk)):
                yield part
            if events.overflow:
                raise ProviderMalformed
            if reader.failure and not reader.finished:
                raise reader.failure
        if reader.done:
            await _read_end(source)
    finally:
        await response.aclose()


async def _read(source: ByteSource, reader: EventReader) -> bytes:
    """Return the next bytes; what goes wrong after the answer has been finished is no failure any more."""
    try:
        if not reader.finished:
            return await source.readany()
        async with asyncio.timeout(_USAGE_WAIT):
            return await source.readany()
    except READ_ERRORS as raised:
        if reader.finished:
            return b""
        error = ProviderTimeout() if isinstance(raised, TimeoutError | httpx2.TimeoutException) else ProviderTruncated()
    raise error


async def _read_end(source: ByteSource) -> None:
    """Read a body to its end, if that comes at once, so that its connection can be used again."""
    try:
        async with asyncio.timeout(_LAST_BYTES):
            while await source.readany():
                pass
    except READ_ERRORS:
        pass
