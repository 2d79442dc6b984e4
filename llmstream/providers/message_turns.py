"""History and tools as Anthropic's Messages API takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from .base import ChatFile, ChatMessage, ProviderRequest, ToolSpec
from .json_object import json_object
from .output_limit import output_limit
from .wire_files import with_files

#: The API wants a limit with every call; every model that it offers takes this one.
_MAX_TOKENS: Final = 8192


def message_request(request: ProviderRequest) -> dict[str, Any]:
    """Return the body of a streaming call."""
    turns = [message for message in request.messages if message.role != "system"]
    body: dict[str, Any] = {
        "max_tokens": _MAX_TOKENS,
        **request.options,
        **output_limit(request.options, request.max_output_tokens, "max_tokens"),
        "model": request.model,
        "messages": list(_turns(turns)),
        "stream": True,
    }
    if system := "\n\n".join(message.content for message in request.messages if message.role == "system"):
        body["system"] = system
    if request.tools:
        body["tools"] = [*body.get("tools", ()), *map(_tool, request.tools)]
    if _goes_on(turns) and _has_budget(body.get("thinking")):
        # Refused without the signed thoughts that led to the tools, which a history does not have.
        del body["thinking"]
    return body


def _turns(messages: Iterable[ChatMessage]) -> Iterator[dict[str, Any]]:
    """Yield the turns; the results of one step have to be one turn."""
    for returned, group in groupby(messages, key=lambda message: message.role == "tool"):
        if returned:
            yield {"role": "user", "content": [_result(message) for message in group]}
        else:
            yield from map(_turn, group)


def _turn(message: ChatMessage) -> dict[str, Any]:
    role = "assistant" if message.role == "assistant" else "user"
    if message.files:
        return {"role": role, "content": with_files(message, _text, _file)}
    return {"role": role, "content": _blocks(message) if message.tool_calls else message.content}


def _blocks(message: ChatMessage) -> list[dict[str, Any]]:
    # A text block of nothing but spaces is refused.
    text = [_text(message.content)] if message.content.strip() else []
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": json_object(call.arguments) or {}}
        for call in message.tool_calls
    ]
    return [*text, *calls]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _file(file: ChatFile) -> dict[str, Any]:
    source = {"type": "base64", "media_type": file.content_type, "data": file.base64}
    return {"type": "image", "source": source} if file.is_image else _document(file, source)


def _document(file: ChatFile, source: dict[str, Any]) -> dict[str, Any]:
    return {"type": "document", "source": source, "title": file.name}


def _result(message: ChatMessage) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}


def _tool(spec: ToolSpec) -> dict[str, Any]:
    return {"name": spec.name, "description": spec.description, "input_schema": spec.parameters}


def _goes_on(messages: Sequence[ChatMessage]) -> bool:
    """Whether the model is in the middle of an answer, after tools."""
    last = next((message for message in reversed(messages) if message.role == "assistant"), None)
    return bool(last and last.tool_calls)


def _has_budget(thinking: Any) -> bool:
    return isinstance(thinking, dict) and thinking.get("type") == "enabled"
