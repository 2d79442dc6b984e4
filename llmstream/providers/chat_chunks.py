"""The chunks of a Chat Completions stream, decoded no further than needed."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from ..exceptions import ProviderError, ProviderMalformed
from .base import Finish, Keepalive, ProviderPart, ReasoningDelta, RefusalDelta, ResponseStarted, Usage
from .failures import stream_failure

_DONE = b"[DONE]"


class ChatChunks:
    """Turns the event data of one stream into provider parts, in order; texts that follow each other are joined.

    ``done`` is set by ``[DONE]``, ``finished`` by a finish reason, ``failure`` by an error object or by data that
    cannot be read. After ``done`` or a failure there is nothing more to read.
    """

    __slots__ = ("_parts", "_started", "done", "failure", "finished")

    def __init__(self) -> None:
        self.done = False
        self.finished = False
        self.failure: ProviderError | None = None
        self._started = False
        self._parts: list[ProviderPart] = []

    def read(self, events: Sequence[bytes]) -> list[ProviderPart]:
        """Return the parts that ``events`` hold, a ``Keepalive`` when there are none."""
        parts = self._parts = []
        try:
            for data in events:
                if data == _DONE:
                    self.done = True
                    break
                self._chunk(orjson.loads(data))
        except ProviderError as error:
            self.failure = error
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
            self.failure = ProviderMalformed()
        return parts or [Keepalive()]

    def _chunk(self, chunk: dict[str, Any]) -> None:
        if error := chunk.get("error"):
            raise stream_failure(error)
        if not self._started:
            self._start(chunk)
        if choices := chunk.get("choices"):
            choice = choices[0]
            if delta := choice.get("delta"):
                self._delta(delta)
            if (reason := choice.get("finish_reason")) and not self.finished:
                if reason == "error":
                    raise ProviderError
                self.finished = True
                self._parts.append(Finish(str(reason)))
        if usage := chunk.get("usage"):
            self._parts.append(_usage(usage))

    def _start(self, chunk: dict[str, Any]) -> None:
        if chunk.get("object") == "error":
            raise stream_failure(chunk)
        if identity := chunk.get("id"):
            self._started = True
            self._parts.append(ResponseStarted(str(identity)))

    def _delta(self, delta: dict[str, Any]) -> None:
        if content := delta.get("content"):
            self._text(content) if type(content) is str else self._list(content)
        # Two names for one thing; services that send both send the same text twice.
        if reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
            self._reasoning(reasoning)
        if refusal := delta.get("refusal"):
            self._parts.append(RefusalDelta(_checked(refusal)))

    def _text(self, text: str) -> None:
        parts = self._parts
        if parts and isinstance(last := parts[-1], str):
            parts[-1] = last + text
        else:
            parts.append(text)

    def _reasoning(self, text: str) -> None:
        parts = self._parts
        if parts and isinstance(last := parts[-1], ReasoningDelta):
            parts[-1] = ReasoningDelta(last.text + text)
        else:
            parts.append(ReasoningDelta(_checked(text)))

    def _list(self, content: list[dict[str, Any]]) -> None:
        """Read content as a list of typed items, which Mistral's reasoning models send."""
        for item in content:
            if text := item.get("text"):
                self._text(_checked(text))
            for thought in item.get("thinking") or ():
                self._reasoning(thought["text"])


def _checked(text: object) -> str:
    if isinstance(text, str):
        return text
    raise TypeError


def _usage(usage: dict[str, Any]) -> Usage:
    cost = usage.get("cost")
    return Usage(
        input_tokens=int(usage.get("prompt_tokens") or 0),
        output_tokens=int(usage.get("completion_tokens") or 0),
        reasoning_tokens=int((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0),
        cached_tokens=int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
        cost=_decimal(cost) if isinstance(cost, int | float | str) else None,
    )


def _decimal(value: object) -> Decimal | None:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number >= 0 else None
