"""Anthropic's Messages, as the fake upstream speaks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .upstream_wire import WORDS, Behaviour, Dialect, named_event

#: Types of errors by their status.
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def block_delta(kind: str, index: int = 0, **content: Any) -> dict[str, Any]:
    """Build a delta of a content block."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **content}}


def block_start(kind: str, index: int = 0, **content: Any) -> dict[str, Any]:
    """Build the start of a content block."""
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **content}}


def tool_events(index: int, identity: str, name: str, pieces: Sequence[str]) -> list[dict[str, Any]]:
    """Build the events of a tool call whose input comes in pieces."""
    return [
        block_start("tool_use", index, id=identity, name=name, input={}),
        block_delta("input_json_delta", index, partial_json=""),
        *(block_delta("input_json_delta", index, partial_json=piece) for piece in pieces),
        {"type": "content_block_stop", "index": index},
    ]


def message_start() -> dict[str, Any]:
    """Build the start of a message."""
    usage = {"input_tokens": 7, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3, "output_tokens": 1}
    message: dict[str, Any] = {
        "id": "msg_upstream",
        "type": "message",
        "role": "assistant",
        "model": "fake",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    return {"type": "message_start", "message": message}


def message_delta(reason: str | None = "end_turn", output_tokens: int = 1, **more: Any) -> dict[str, Any]:
    """Build the event with the stop reason and the usage."""
    delta = {"stop_reason": reason, "stop_sequence": None, "stop_details": None, **more}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": output_tokens}}


MESSAGE_STOP = {"type": "message_stop"}
PING = {"type": "ping"}


class Anthropic(Dialect):
    """``POST /v1/messages``."""

    def begin(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        if behaviour.text("reasoning"):
            return [message_start(), PING, block_start("thinking", thinking="", signature="")]
        return [message_start(), PING, block_start("text", text="")]

    def thought(self, text: str, behaviour: Behaviour) -> list[dict[str, Any]]:
        return [block_delta("thinking_delta", thinking=text)]

    def token(self, text: str, behaviour: Behaviour) -> list[dict[str, Any]]:
        return [block_delta("text_delta", text=text)]

    def failure(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        message = behaviour.text("message", WORDS)
        return [{"type": "error", "error": {"type": behaviour.text("error", "overloaded_error"), "message": message}}]

    def end(self, tokens: int, behaviour: Behaviour) -> list[dict[str, Any] | str]:
        delta = message_delta(behaviour.text("finish", "end_turn"), tokens)
        if behaviour.text("reasoning"):
            delta["usage"]["output_tokens_details"] = {"thinking_tokens": 2}
        said: list[dict[str, Any] | str] = [{"type": "content_block_stop", "index": 0}, delta]
        if behaviour.count("done", 1):
            said.append(MESSAGE_STOP)
        return said

    def error(self, status: int, behaviour: Behaviour) -> dict[str, Any]:
        error = {"type": _TYPES.get(status, "api_error"), "message": behaviour.text("message", WORDS)}
        return {"type": "error", "error": error, "request_id": "req_upstream"}

    def frame(self, data: dict[str, Any] | str, newline: str = "\n") -> bytes:
        return named_event(data, newline)
