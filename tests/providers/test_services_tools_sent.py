"""Tools at the services besides Chat Completions: how tools, calls and results are sent."""

from __future__ import annotations

from typing import Any

import pytest

from llmstream.providers import ChatMessage, ToolCall
from tests.upstream import END, Upstream
from tests.upstream_wire import HEAD, http_chunk

from .asking import ask_with_tools, text
from .services import SERVICES
from .speeches import SPEC, A, B

HISTORY = (
    ChatMessage("system", "Be brief."),
    ChatMessage("user", "Add and multiply."),
    ChatMessage("assistant", "I will.", [A, B]),
    ChatMessage("tool", "1", tool_call_id="call_a"),
    ChatMessage("tool", '{"error": {"code": "tool_failed"}}', tool_call_id="call_b"),
    ChatMessage("assistant", "", [ToolCall("call_c", "add", "{}")]),
    ChatMessage("tool", "done", tool_call_id="call_c"),
    ChatMessage("user", "Hurry up."),
)
SIGNATURE = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="  # skip_thought_signature_validator

SENT: dict[str, tuple[str, Any]] = {
    "responses": (
        "input",
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Add and multiply."},
            {"role": "assistant", "content": "I will."},
            {"type": "function_call", "call_id": "call_a", "name": "add", "arguments": A.arguments},
            {"type": "function_call", "call_id": "call_b", "name": "mul", "arguments": B.arguments},
            {"type": "function_call_output", "call_id": "call_a", "output": "1"},
            {"type": "function_call_output", "call_id": "call_b", "output": '{"error": {"code": "tool_failed"}}'},
            {"type": "function_call", "call_id": "call_c", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_c", "output": "done"},
            {"role": "user", "content": "Hurry up."},
        ],
    ),
    "anthropic": (
        "messages",
        [
            {"role": "user", "content": "Add and multiply."},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I will."},
                    {"type": "tool_use", "id": "call_a", "name": "add", "input": {"a": 1}},
                    {"type": "tool_use", "id": "call_b", "name": "mul", "input": {"b": {"c": [2, "}"]}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_a", "content": "1"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_b",
                        "content": '{"error": {"code": "tool_failed"}}',
                    },
                ],
            },
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_c", "name": "add", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_c", "content": "done"}]},
            {"role": "user", "content": "Hurry up."},
        ],
    ),
    "gemini": (
        "contents",
        [
            {"role": "user", "parts": [{"text": "Add and multiply."}]},
            {
                "role": "model",
                "parts": [
                    {"text": "I will."},
                    {
                        "functionCall": {"id": "call_a", "name": "add", "args": {"a": 1}},
                        "thoughtSignature": SIGNATURE,
                    },
                    {"functionCall": {"id": "call_b", "name": "mul", "args": {"b": {"c": [2, "}"]}}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "call_a", "name": "add", "response": {"output": "1"}}},
                    {
                        "functionResponse": {
                            "id": "call_b",
                            "name": "mul",
                            "response": {"error": {"code": "tool_failed"}},
                        }
                    },
                ],
            },
            {
                "role": "model",
                "parts": [{"functionCall": {"id": "call_c", "name": "add", "args": {}}, "thoughtSignature": SIGNATURE}],
            },
            {
                "role": "user",
                "parts": [{"functionResponse": {"id": "call_c", "name": "add", "response": {"output": "done"}}}],
            },
            {"role": "user", "parts": [{"text": "Hurry up."}]},
        ],
    ),
}


@pytest.mark.parametrize("name", SERVICES)
async def test_a_history_has_calls_and_results(upstream: Upstream, name: str) -> None:
    service = SERVICES[name]
    provider = service.make(upstream)
    upstream.script = [HEAD, *map(http_chunk, service.events("said")), END]
    assert text(await ask_with_tools(provider, *HISTORY, specs=[SPEC])) == "said"
    key, expected = SENT[name]
    assert upstream.exchanges[-1].body[key] == expected
    await provider.aclose()


HOSTED: dict[str, dict[str, Any]] = {
    "responses": {"type": "web_search"},
    "anthropic": {"type": "web_search_20250305", "name": "web_search"},
    "gemini": {"googleSearch": {}},
}
OURS: dict[str, dict[str, Any]] = {
    "responses": {
        "type": "function",
        "name": "add",
        "description": "Add numbers.",
        "parameters": SPEC.parameters,
        "strict": False,
    },
    "anthropic": {"name": "add", "description": "Add numbers.", "input_schema": SPEC.parameters},
    "gemini": {
        "functionDeclarations": [
            {"name": "add", "description": "Add numbers.", "parameters_json_schema": SPEC.parameters},
        ]
    },
}


@pytest.mark.parametrize("name", SERVICES)
async def test_tools_stand_beside_those_of_the_service(upstream: Upstream, name: str) -> None:
    service = SERVICES[name]
    provider = service.make(upstream)
    upstream.script = [HEAD, *map(http_chunk, service.events("said")), END]
    await ask_with_tools(provider)
    await ask_with_tools(provider, specs=[SPEC])
    await ask_with_tools(provider, specs=[SPEC], tools=[HOSTED[name]])
    sent = [exchange.body.get("tools") for exchange in upstream.exchanges]
    assert sent == [None, [OURS[name]], [HOSTED[name], OURS[name]]]
    await provider.aclose()


@pytest.mark.parametrize(
    ("thinking", "sent"), [({"type": "enabled", "budget_tokens": 2000}, False), ({"type": "adaptive"}, True)]
)
async def test_thoughts_with_a_budget_are_off_after_tools(
    upstream: Upstream, thinking: dict[str, Any], sent: bool
) -> None:
    service = SERVICES["anthropic"]
    upstream.script = [HEAD, *map(http_chunk, service.events("said")), END]
    provider = service.make(upstream)
    ended = (*HISTORY, ChatMessage("assistant", "Done."), ChatMessage("user", "Again."))
    for history in (HISTORY[:2], ended, HISTORY[:-1], HISTORY):
        await ask_with_tools(provider, *history, specs=[SPEC], thinking=thinking)
    assert ["thinking" in exchange.body for exchange in upstream.exchanges] == [True, True, sent, sent]
    await provider.aclose()
