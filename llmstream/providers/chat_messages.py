"""History and tools as the Chat Completions API takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .base import ChatFile, ChatMessage, ProviderRequest, ToolSpec
from .output_limit import output_limit
from .wire_files import data_url, with_files


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
    if message.files:
        body["content"] = with_files(message, _text, _file)
    if message.tool_calls:
        body["content"] = message.content or None
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    return body


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _file(file: ChatFile) -> dict[str, Any]:
    if file.is_image:
        return {"type": "image_url", "image_url": {"url": data_url(file)}}
    return {"type": "file", "file": {"filename": file.name, "file_data": data_url(file)}}


def _tools(specs: Iterable[ToolSpec]) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {"name": spec.name, "description": spec.description, "parameters": spec.parameters},
        }
        for spec in specs
    ]
