"""History and tools as the Responses API takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .base import ChatFile, ChatMessage, ProviderRequest, ToolSpec
from .output_limit import output_limit
from .wire_files import data_url, with_files


def response_request(request: ProviderRequest) -> dict[str, Any]:
    """Return the body of a streaming call."""
    body: dict[str, Any] = {
        **request.options,
        **output_limit(request.options, request.max_output_tokens, "max_output_tokens"),
        "model": request.model,
        "input": [item for message in request.messages for item in _items(message)],
        "stream": True,
    }
    if request.tools:
        body["tools"] = [*body.get("tools", ()), *map(_tool, request.tools)]
    return body


def _items(message: ChatMessage) -> Iterator[dict[str, Any]]:
    """Yield a turn's items, which have no ids: an item with one needs the reasoning beside it that led to it."""
    if message.role == "tool":
        yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content}
        return
    if message.files:
        yield {"role": message.role, "content": with_files(message, _text, _file)}
    elif message.content or not message.tool_calls:
        yield {"role": message.role, "content": message.content}
    for call in message.tool_calls:
        yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def _text(text: str) -> dict[str, Any]:
    return {"type": "input_text", "text": text}


def _file(file: ChatFile) -> dict[str, Any]:
    if file.is_image:
        return {"type": "input_image", "detail": "auto", "image_url": data_url(file)}
    return {"type": "input_file", "filename": file.name, "file_data": data_url(file)}


def _tool(spec: ToolSpec) -> dict[str, Any]:
    # This API would be strict by itself, and strict schemas have no optional arguments.
    return {
        "type": "function",
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.parameters,
        "strict": False,
    }
