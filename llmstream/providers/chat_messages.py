"""History and tools as the Chat Completions API takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .base import ChatMessage, ProviderRequest, ToolSpec
from .output_limit import output_limit


def chat_request(request: ProviderRequest) -> dict[str, Any]:
    """Return the body of a streaming call."""
    body: dict[str, Any] = {
        **request.options,
        **output_limit(request.options, request.max_output_tokens, "max_completion_tokens", "max_tokens"),
        "model": request.model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
    }
    if request.tools:
        body["tools"] = _tools(request.tools)
    return body


def _message(message: ChatMessage) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        body["content"] = message.content or None
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    return body


def _tools(specs: Iterable[ToolSpec]) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {"name": spec.name, "description": spec.description, "parameters": spec.parameters},
        }
        for spec in specs
    ]
