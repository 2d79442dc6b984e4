"""The chunks of a Chat Completions stream, decoded no further than needed."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from ..exceptions import ProviderError
from .base import Finish, RefusalDelta, ResponseStarted, Usage
from .event_reader import EventReader, checked
from .failures import stream_failure
from .tool_fragments import ToolFragments

#: Older words for reasons.
_REASONS = {"function_call": "tool_calls"}


class ChatChunks(EventReader):
    """Reads the chunks of one stream."""

    __slots__ = ("_calls", "_started")

    def __init__(self) -> None:
        super().__init__()
        self._started = False
        self._calls = ToolFragments()

    def _event(self, event: dict[str, Any]) -> None:
        if error := event.get("error"):
            raise stream_failure(error)
        if not self._started:
            self._start(event)
        if choices := event.get("choices"):
            choice = choices[0]
            if delta := choice.get("delta"):
                self._delta(delta)
            if (reason := choice.get("finish_reason")) and not self.finished:
                if reason == "error":
                    raise ProviderError
                self.finished = True
                self._parts.extend(self._calls.take(cut=reason == "length"))
                self._parts.append(Finish(_REASONS.get(reason, str(reason))))
        if usage := event.get("usage"):
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
        if calls := delta.get("tool_calls"):
            self._calls.add(calls)
        elif function := delta.get("function_call"):
            self._calls.add([{"index": 0, "function": function}])
        if refusal := delta.get("refusal"):
            self._parts.append(RefusalDelta(checked(refusal)))

    def _list(self, content: list[dict[str, Any]]) -> None:
        """Read content as a list of typed items, which Mistral's reasoning models send."""
        for item in content:
            if text := item.get("text"):
                self._text(text)
            for thought in item.get("thinking") or ():
                self._reasoning(thought["text"])


def _usage(usage: dict[str, Any]) -> Usage:
    cost, details = usage.get("cost"), usage.get("prompt_tokens_details") or {}
    return Usage(
        input_tokens=int(usage.get("prompt_tokens") or 0),
        output_tokens=int(usage.get("completion_tokens") or 0),
        reasoning_tokens=int((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
        cache_write_tokens=int(details.get("cache_write_tokens") or 0),
        cost=_decimal(cost) if isinstance(cost, int | float | str) else None,
    )


def _decimal(value: object) -> Decimal | None:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number >= 0 else None
