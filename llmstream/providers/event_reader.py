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
from .byte_source import byte_source
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


class Answer:
    """One response while it is read."""

    def __init__(self, response: httpx2.Response, reader: EventReader) -> None:
        self._response = response
        self._reader = reader
        self._events = EventData()
        self._source = byte_source(response)

    async def read(self) -> list[ProviderPart]:
        """Return the parts that have come, none at the end; raises ProviderError.

        What goes wrong after the answer has been finished is no failure any more.
        """
        reader, source = self._reader, self._source
        if self._events.overflow:
            raise ProviderMalformed
        if reader.failure and not reader.finished:
            raise reader.failure
        if reader.done:
            return []
        try:
            if reader.finished:
                async with asyncio.timeout(_USAGE_WAIT):
                    chunk = await source.readany()
            else:
                chunk = await source.readany()
        except READ_ERRORS as raised:
            if reader.finished:
                return []
            timeout = isinstance(raised, TimeoutError | httpx2.TimeoutException)
        else:
            return reader.read(self._events.feed(chunk)) if chunk else []
        # Raised out here, so that nothing of the service hangs on to it as its context.
        raise ProviderTimeout if timeout else ProviderTruncated

    async def read_end(self) -> None:
        """Read the body to its end, if that comes at once, so that the connection can be used again."""
        try:
            async with asyncio.timeout(_LAST_BYTES):
                while self._reader.done and await self._source.readany():
                    pass
        except READ_ERRORS:
            pass

    async def aclose(self) -> None:
        """Close the response, and its connection unless it was read to its end."""
        await self._response.aclose()


async def read_answer(
    open_response: Callable[[], Awaitable[httpx2.Response]], reader: EventReader
) -> AsyncGenerator[ProviderPart, None]:
    """Open a response and yield the parts of its event stream; its connection is closed with the generator."""
    answer = Answer(await open_response(), reader)
    try:
        while parts := await answer.read():
            for part in parts:
                yield part
        await answer.read_end()
    finally:
        await answer.aclose()
