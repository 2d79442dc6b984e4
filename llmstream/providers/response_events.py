"""The events of a Responses stream, decoded no further than needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ..exceptions import ProviderTruncated
from .base import Cursor, Finish, ProviderPart, RefusalDelta, ResponseStarted, Usage
from .event_reader import EventReader, checked
from .failures import stream_failure
from .tool_fragments import ToolFragments

#: Words of the Responses API for reasons that have a name in Chat Completions.
_REASONS: Final = {"max_output_tokens": "length"}
_FUNCTION_CALL: Final = "function_call"
_TOOL_CALLS: Final = frozenset({_FUNCTION_CALL, "custom_tool_call"})
_COMPLETED: Final = frozenset({"stop", "tool_calls"})
_BETWEEN_SUMMARIES: Final = "\n\n"


class ResponseEvents(EventReader):
    """Reads the events of one response; with ``cursors``, a ``Cursor`` follows the parts of every read.

    Another one comes before the parts of the response's last event.

    ``response_id`` and ``cursor`` say where reading stands; events up to ``cursor`` are left out. ``ended`` is set once
    the service has said that the response is over.
    """

    __slots__ = ("_calls", "_cursors", "_summary", "_told", "cursor", "ended", "response_id")

    def __init__(self, *, cursors: bool = False, response_id: str = "", cursor: int = -1) -> None:
        super().__init__()
        self.response_id = response_id
        self.cursor = self._told = cursor
        self.ended = False
        self._calls = ToolFragments()
        self._cursors = cursors
        self._summary = False

    def read(self, events: Sequence[bytes]) -> list[ProviderPart]:
        """Return the parts that ``events`` hold and where they end."""
        parts = super().read(events)
        self._tell_cursor(parts)
        return parts

    def _tell_cursor(self, parts: list[ProviderPart]) -> None:
        if self._cursors and self.cursor > self._told:
            parts.append(Cursor(self.cursor))
            self._told = self.cursor

    def _event(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        number = event.get("sequence_number")
        if number is not None and number <= self.cursor:
            return
        if kind == "response.output_text.delta":
            self._text(event["delta"])
        elif act := _ACTS.get(kind):
            act(self, event)
        # Not before: what an unreadable event held has not been told.
        if number is not None:
            self.cursor = number

    def _refusal(self, event: dict[str, Any]) -> None:
        self._parts.append(RefusalDelta(checked(event["delta"])))

    def _thought(self, event: dict[str, Any]) -> None:
        self._reasoning(event["delta"])

    def _next_summary(self, event: dict[str, Any]) -> None:
        """Keep the parts of a summary apart, each of which begins with a heading of its own."""
        if self._summary or event.get("summary_index"):
            self._reasoning(_BETWEEN_SUMMARIES)
        self._summary = True

    def _next_content(self, event: dict[str, Any]) -> None:
        self._summary = False

    def _item(self, event: dict[str, Any]) -> None:
        self._call(event["output_index"], event["item"])

    def _call(self, index: int, item: dict[str, Any]) -> None:
        if item.get("type") == _FUNCTION_CALL:
            self._calls.put(index, str(item["call_id"]), str(item["name"]), checked(item.get("arguments") or ""))

    def _recall(self, output: Sequence[dict[str, Any]]) -> None:
        """Take the calls from the response itself, since reading may have begun after one or in the middle of it."""
        if calls := [item for item in output if item.get("type") == _FUNCTION_CALL]:
            self._calls = ToolFragments()
            for index, item in enumerate(calls):
                self._call(index, item)

    def _arguments(self, event: dict[str, Any]) -> None:
        self._calls.add([{"index": event["output_index"], "function": {"arguments": checked(event["delta"])}}])

    def _all_arguments(self, event: dict[str, Any]) -> None:
        self._calls.put(event["output_index"], "", "", checked(event["arguments"]))

    def _start(self, event: dict[str, Any]) -> None:
        if not self.response_id and (identity := event["response"].get("id")):
            self.response_id = str(identity)
            self._parts.append(ResponseStarted(self.response_id))

    def _end(self, event: dict[str, Any]) -> None:
        self._tell_cursor(self._parts)  # so that the end can be heard again, and nothing before it
        self._start(event)
        response = event["response"]
        self.done = self.ended = True
        if usage := response.get("usage"):
            self._parts.append(_usage(usage))
        if event["type"] == "response.failed":
            raise stream_failure(response.get("error"))
        if event["type"] == "response.cancelled":
            raise ProviderTruncated
        self._recall(response.get("output") or ())
        reason = _reason(response)
        calls = self._calls.take(cut=reason not in _COMPLETED)
        self._parts += [*calls, Finish("tool_calls" if calls and reason == "stop" else reason)]
        self.finished = True

    def _error(self, event: dict[str, Any]) -> None:
        self.done = True
        raise stream_failure(event)


_ACTS: Final[Mapping[str, Callable[[ResponseEvents, dict[str, Any]], None]]] = {
    "response.created": ResponseEvents._start,
    "response.queued": ResponseEvents._start,
    "response.in_progress": ResponseEvents._start,
    "response.refusal.delta": ResponseEvents._refusal,
    "response.reasoning_text.delta": ResponseEvents._thought,
    "response.reasoning_summary_text.delta": ResponseEvents._thought,
    "response.reasoning_summary_part.added": ResponseEvents._next_summary,
    "response.content_part.added": ResponseEvents._next_content,
    "response.output_item.added": ResponseEvents._item,
    "response.output_item.done": ResponseEvents._item,
    "response.function_call_arguments.delta": ResponseEvents._arguments,
    "response.function_call_arguments.done": ResponseEvents._all_arguments,
    "response.completed": ResponseEvents._end,
    "response.incomplete": ResponseEvents._end,
    "response.failed": ResponseEvents._end,
    "response.cancelled": ResponseEvents._end,
    "error": ResponseEvents._error,
}


def _reason(response: dict[str, Any]) -> str:
    if response.get("status") == "incomplete" or response.get("incomplete_details"):
        reason = str((response.get("incomplete_details") or {}).get("reason") or "incomplete")
        return _REASONS.get(reason, reason)
    items = response.get("output") or ()
    return "tool_calls" if any(item.get("type") in _TOOL_CALLS for item in items) else "stop"


def _usage(usage: dict[str, Any]) -> Usage:
    details = usage.get("input_tokens_details") or {}
    return Usage(
        input_tokens=int(usage.get("input_tokens") or 0),
        output_tokens=int(usage.get("output_tokens") or 0),
        reasoning_tokens=int((usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
        cache_write_tokens=int(details.get("cache_write_tokens") or 0),
    )
