"""History and tools as the google-genai package takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from google.genai import types

from .base import ChatFile, ChatMessage, ProviderRequest, ToolSpec
from .json_object import json_object
from .output_limit import output_limit
from .wire_files import with_files

#: Google's own stand-in for the signature of thoughts that a history does not have: newer models refuse a step's first
#: call without one. See https://ai.google.dev/gemini-api/docs/thought-signatures.
_NO_SIGNATURE: Final = b"skip_thought_signature_validator"


def content_arguments(request: ProviderRequest) -> dict[str, Any]:
    """Return the arguments of a streaming call."""
    system = "\n\n".join(message.content for message in request.messages if message.role == "system")
    limit = output_limit(request.options, request.max_output_tokens, "max_output_tokens")
    fields: dict[str, Any] = {"system_instruction": system or None, **request.options, **limit}
    if request.tools:
        # The package would run functions itself, given any.
        fields = {"automatic_function_calling": {"disable": True}, **fields}
        fields["tools"] = [*(fields.get("tools") or ()), _tool(request.tools)]
    return {
        "model": request.model,
        "contents": list(_contents(message for message in request.messages if message.role != "system")),
        "config": types.GenerateContentConfig(
            **fields,
            http_options=types.HttpOptions(
                headers={"Accept-Encoding": "identity", "X-Client-Request-Id": request.generation}
            ),
        ),
    }


def _contents(messages: Iterable[ChatMessage]) -> Iterator[types.Content]:
    """Yield the turns; the results of one step have to be one turn, and have the names of what was called."""
    names: dict[str, str] = {}
    for returned, group in groupby(messages, key=lambda message: message.role == "tool"):
        if returned:
            yield types.Content(role="user", parts=[_result(message, names) for message in group])
            continue
        for message in group:
            names |= {call.id: call.name for call in message.tool_calls}
            yield types.Content(role="model" if message.role == "assistant" else "user", parts=list(_parts(message)))


def _parts(message: ChatMessage) -> Iterator[types.Part]:
    if message.files:
        yield from with_files(message, _text, _file)
    elif message.content or not message.tool_calls:
        yield _text(message.content)
    for number, call in enumerate(message.tool_calls):
        called = types.FunctionCall(id=call.id or None, name=call.name, args=json_object(call.arguments) or {})
        yield types.Part(function_call=called, thought_signature=None if number else _NO_SIGNATURE)


def _text(text: str) -> types.Part:
    return types.Part(text=text)


def _file(file: ChatFile) -> types.Part:
    return types.Part(inline_data=types.Blob(mime_type=file.content_type, data=file.data))


def _result(message: ChatMessage, names: Mapping[str, str]) -> types.Part:
    identity = message.tool_call_id
    response = json_object(message.content)
    return types.Part(
        function_response=types.FunctionResponse(
            id=identity or None,
            name=names.get(identity, ""),
            response={"output": message.content} if response is None else response,
        )
    )


def _tool(specs: Sequence[ToolSpec]) -> types.Tool:
    return types.Tool(
        function_declarations=[
            types.FunctionDeclaration(
                name=spec.name, description=spec.description, parameters_json_schema=dict(spec.parameters)
            )
            for spec in specs
        ]
    )
