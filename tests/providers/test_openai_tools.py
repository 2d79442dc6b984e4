"""Tools over Chat Completions: what is sent, and calls put together from fragments of every make."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmstream.exceptions import ProviderError
from llmstream.providers import ChatMessage, Finish, ToolCall, ToolSpec
from llmstream.providers.base import ProviderRequest
from llmstream.providers.chat_chunks import ChatChunks
from llmstream.providers.openai import OpenAIProvider
from tests.providers.test_openai import script
from tests.upstream import Upstream
from tests.upstream_chat import chunk

SPEC = ToolSpec("add", "Add two numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}})


def fragment(index: int | None, identity: str = "", name: str = "", arguments: Any = "", **more: Any) -> dict[str, Any]:
    """Return one item of ``delta.tool_calls``; what is empty is left out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value != ""}
    item = {"index": index, "id": identity or None, "type": "function", "function": function, **more}
    return {key: value for key, value in item.items() if value is not None}


def read(*fragments: list[dict[str, Any]], reason: str = "tool_calls") -> list[Any]:
    """Return the calls and the finish that chunks with these fragments come to."""
    chunks = [chunk({"tool_calls": items}) for items in fragments]
    reader = ChatChunks()
    parts = reader.read([json.dumps(data).encode() for data in [*chunks, chunk({}, reason)]])
    if reader.failure:
        raise reader.failure
    return [part for part in parts if isinstance(part, ToolCall | Finish)]


A, B = ToolCall("a", "add", '{"a": 1}'), ToolCall("b", "mul", '{"b": 2}')

CASES: dict[str, list[list[dict[str, Any]]]] = {
    "whole": [[fragment(0, "a", "add", A.arguments), fragment(1, "b", "mul", B.arguments)]],
    "in pieces": [
        [fragment(0, "a", "add")],
        [fragment(0, arguments='{"a"')],
        [fragment(0, arguments=": 1}")],
        [fragment(1, "b", "mul", '{"b": ')],
        [fragment(1, arguments="2}")],
    ],
    "interleaved": [
        [fragment(0, "a", "add"), fragment(1, "b", "mul")],
        [fragment(1, arguments='{"b": ')],
        [fragment(0, arguments='{"a": ')],
        [fragment(1, arguments="2}"), fragment(0, arguments="1}")],
    ],
    "id and name in every fragment": [
        [fragment(0, "a", "add", '{"a"')],
        [fragment(0, "a", "add", ": 1}")],
        [fragment(1, "b", "mul", '{"b": ')],
        [fragment(1, "b", "mul", "2}")],
    ],
    "sent twice": [
        [fragment(0, "a", "add", A.arguments)],
        [fragment(0, "a", "add", A.arguments)],
        [fragment(1, "b", "mul", '{"b": ')],
        [fragment(1, arguments="2}")],
        [fragment(1, "b", "mul", B.arguments), fragment(0, "a", "add", A.arguments)],
    ],
    "sent once more under another index": [
        [fragment(0, "a", "add", A.arguments)],
        [fragment(1, "a", "add", A.arguments)],
        [fragment(2, "b", "mul", B.arguments)],
    ],
    "one index for all": [[fragment(0, "a", "add", A.arguments)], [fragment(0, "b", "mul", B.arguments)]],
    "no index": [
        [fragment(None, "a", "add", '{"a": ')],
        [fragment(None, arguments="1}")],
        [fragment(None, "b", "mul", B.arguments)],
    ],
    "arguments as an object": [
        [fragment(0, "a", "add", {"a": 1})],
        [fragment(1, "b", "mul", {"b": 2})],
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_calls_are_put_together(case: str) -> None:
    *calls, finish = read(*CASES[case])
    found = [ToolCall(call.id, call.name, json.dumps(json.loads(call.arguments))) for call in calls]
    assert (found, finish) == ([A, B], Finish("tool_calls"))


def test_calls_without_ids_are_told_apart() -> None:
    same = fragment(0, "", "add", '{"a": 1}')
    *calls, _ = read([same], [same], [fragment(0, "", "add", '{"a": 2}')], [fragment(0, "", "mul", '{"a": 2}')])
    assert [(call.name, call.arguments) for call in calls] == [
        ("add", '{"a": 1}'),
        ("add", '{"a": 2}'),
        ("mul", '{"a": 2}'),
    ]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert read([fragment(0, "a", "now")])[0] == ToolCall("a", "now", "{}")


def test_a_call_that_the_length_limit_has_cut_is_none() -> None:
    fragments = [[fragment(0, "a", "add", A.arguments)], [fragment(1, "b", "mul", '{"b": ')]]
    assert read(*fragments, reason="length") == [A, Finish("length")]


def test_the_older_form_is_read_too() -> None:
    reader = ChatChunks()
    data = [
        chunk({"function_call": {"name": "add", "arguments": '{"a"'}}),
        chunk({"function_call": {"arguments": ": 1}"}}),
        chunk({}, "function_call"),
    ]
    parts = reader.read([json.dumps(item).encode() for item in data])
    assert parts[-2:] == [ToolCall("", "add", '{"a": 1}'), Finish("tool_calls")]


@pytest.mark.parametrize(
    "broken", [[fragment(0, "a", "add", "x" * 1_100_000)], ["text"], [{"index": 0, "function": 5}]]
)
def test_what_cannot_be_calls_is_a_failure(broken: Any) -> None:
    with pytest.raises(ProviderError):
        read(broken)


async def test_tools_and_their_results_are_sent(upstream: Upstream, provider: OpenAIProvider) -> None:
    last = chunk({"tool_calls": [fragment(0, "a", "add", A.arguments)]}, "tool_calls")
    script(upstream, last, "[DONE]")
    messages = [
        ChatMessage("user", "Add"),
        ChatMessage("assistant", "", [A]),
        ChatMessage("tool", "1", tool_call_id="a"),
    ]
    request = ProviderRequest("g", "script", messages, tools=[SPEC])
    parts = [part async for part in provider.stream(request)]
    assert A in parts
    body = upstream.exchanges[-1].body
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "add", "description": SPEC.description, "parameters": SPEC.parameters},
        }
    ]
    assert body["messages"] == [
        {"role": "user", "content": "Add"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "add", "arguments": A.arguments}}],
        },
        {"role": "tool", "content": "1", "tool_call_id": "a"},
    ]
