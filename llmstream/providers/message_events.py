"""The events of an Anthropic Messages stream, decoded no further than needed."""

from __future__ import annotations

from typing import Any, Final

from .base import Finish, RefusalDelta, ResponseStarted, Usage
from .event_reader import EventReader, checked
from .failures import stream_failure
from .tool_fragments import ToolFragments

#: Anthropic's words for reasons that have a name in Chat Completions.
_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class MessageEvents(EventReader):
    """Reads the events of one message."""

    __slots__ = ("_calls", "_usage")

    def __init__(self) -> None:
        super().__init__()
        self._calls = ToolFragments()
        self._usage: dict[str, Any] = {}

    def _event(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "content_block_delta":
            self._delta(event["delta"], event)
        elif kind == "content_block_start":
            self._delta(event["content_block"], event)
        elif kind == "message_start":
            message = event["message"]
            self._usage = dict(message.get("usage") or {})
            if identity := message.get("id"):
                self._parts.append(ResponseStarted(str(identity)))
        elif kind == "message_delta":
            self._end(event)
        elif kind == "message_stop":
            self.done = True
        elif kind == "error":
            raise stream_failure(event)

    def _delta(self, delta: dict[str, Any], event: dict[str, Any]) -> None:
        kind = delta["type"]
        if kind in {"text_delta", "text"}:
            if text := delta["text"]:
                self._text(text)
        elif kind in {"thinking_delta", "thinking"} and (thought := delta["thinking"]):
            self._reasoning(thought)
        elif kind == "tool_use":
            # Empty before its fragments, and whole where a service sends none.
            function = {"name": delta["name"], "arguments": delta.get("input") or ""}
            self._calls.add([{"index": event["index"], "id": delta.get("id"), "function": function}])
        elif kind == "input_json_delta":
            # Also of the service's own tools, whose calls have no name here and are left out.
            self._calls.add([{"index": event["index"], "function": {"arguments": checked(delta["partial_json"])}}])

    def _end(self, event: dict[str, Any]) -> None:
        """Read the figures, which are sums so far, and the reason, which comes with the last of them."""
        self._usage.update({key: value for key, value in (event.get("usage") or {}).items() if value is not None})
        delta = event["delta"]
        if self.finished or not (reason := delta.get("stop_reason")):
            return
        if explanation := (delta.get("stop_details") or {}).get("explanation"):
            self._parts.append(RefusalDelta(checked(explanation)))
        word = _REASONS.get(reason, str(reason))
        self._parts += [_usage(self._usage), *self._calls.take(cut=word == "length"), Finish(word)]
        self.finished = True


def _usage(usage: dict[str, Any]) -> Usage:
    """Return the figures; Anthropic counts what was read from and written to its cache apart from other input."""
    cached, written = (int(usage.get(f"cache_{way}_input_tokens") or 0) for way in ("read", "creation"))
    return Usage(
        input_tokens=int(usage.get("input_tokens") or 0) + written + cached,
        output_tokens=int(usage.get("output_tokens") or 0),
        reasoning_tokens=int((usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0),
        cached_tokens=cached,
        cache_write_tokens=written,
    )
