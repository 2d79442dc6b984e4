"""How the services besides Chat Completions say that tools are called."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmstream.providers import Finish, ToolCall, ToolSpec
from tests.upstream import END, Upstream
from tests.upstream_anthropic import MESSAGE_STOP, message_delta, tool_events
from tests.upstream_gemini import content
from tests.upstream_responses import call_events, call_item, lifecycle
from tests.upstream_wire import HEAD, Behaviour, http_chunk

from .services import Service

SPEC = ToolSpec("add", "Add numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}})
A, B = ToolCall("call_a", "add", '{"a":1}'), ToolCall("call_b", "mul", '{"b":{"c":[2,"}"]}}')
ANSWER = Behaviour("answer", {})
#: Services whose arguments come in pieces.
PIECEMEAL = ["responses", "anthropic"]


def gemini_call(index: int, call: ToolCall, pieces: Sequence[str]) -> list[dict[str, Any]]:
    """Return the one chunk of a call, which always comes whole."""
    named = {"id": call.id} if call.id else {}
    return [content({"functionCall": {**named, "name": call.name, "args": json.loads("".join(pieces))}})]


@dataclass(frozen=True, slots=True)
class Speech:
    """How a service says that a tool is called, and that the answer ends with these calls, for a reason."""

    call: Callable[[int, ToolCall, Sequence[str]], list[dict[str, Any]]]
    end: Callable[[Sequence[ToolCall]], list[dict[str, Any]]]
    #: The end of an answer that reached its length limit.
    limit: list[dict[str, Any]]


SPEECHES = {
    "responses": Speech(
        lambda index, call, pieces: call_events(index, call.id, call.name, pieces),
        lambda calls: [
            lifecycle(
                "response.completed",
                "completed",
                output=[{"type": "message"}, *(call_item(call.id, call.name, call.arguments) for call in calls)],
            )
        ],
        [lifecycle("response.incomplete", "incomplete", incomplete_details={"reason": "max_output_tokens"})],
    ),
    "anthropic": Speech(
        lambda index, call, pieces: tool_events(index, call.id, call.name, pieces),
        lambda calls: [message_delta("tool_use"), MESSAGE_STOP],
        [message_delta("max_tokens"), MESSAGE_STOP],
    ),
    "gemini": Speech(
        gemini_call,
        lambda calls: [content({"text": ""}, finish="STOP")],
        [content({"text": ""}, finish="MAX_TOKENS")],
    ),
}


def frames(service: Service, *events: dict[str, Any]) -> list[bytes]:
    """Return the bytes of an answer's events."""
    return [service.dialect.frame(event) for event in (*service.dialect.begin(ANSWER), *events)]


def script(upstream: Upstream, service: Service, *events: dict[str, Any], size: int = 0) -> None:
    """Have the model ``script`` send these events, whole or in pieces of some size, and end in an orderly way."""
    sent = frames(service, *events)
    if size:
        data = b"".join(sent)
        sent = [data[at : at + size] for at in range(0, len(data), size)]
    upstream.script = [HEAD, *map(http_chunk, sent), END]


def calls(parts: Sequence[Any]) -> list[Any]:
    """Return the calls and the finish, which end an answer but for figures."""
    return [part for part in parts if isinstance(part, ToolCall | Finish)]
