"""``AnthropicProvider``: what the Messages API says, and what is made of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmstream.exceptions import (
    ProviderContextExceeded,
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
)
from llmstream.providers import (
    ChatMessage,
    Finish,
    Keepalive,
    Provider,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    Usage,
)
from llmstream.providers.aiohttp_transport import Body
from llmstream.providers.byte_source import byte_source
from tests.upstream import END, FIN, GATE, RST, Upstream
from tests.upstream_anthropic import MESSAGE_STOP, PING, block_delta, block_start, message_delta, message_start
from tests.upstream_wire import HEAD, event, http_chunk, named_event

from .asking import ask, assert_silent, fail, of_type, request, text
from .services import SERVICES

ANSWER = "tok0 tok1 tok2 tok3 tok4 "


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[Provider]:
    """The provider under test."""
    found = SERVICES["anthropic"].make(upstream)
    yield found
    await found.aclose()


def script(upstream: Upstream, *events: dict[str, Any]) -> None:
    """Have the model ``script`` send these events and end in an orderly way."""
    upstream.script = [HEAD, *(http_chunk(named_event(event)) for event in events), END]


async def test_the_request_is_one_of_the_messages_api(upstream: Upstream, provider: Provider) -> None:
    history = [ChatMessage(role, role) for role in ("system", "user", "assistant", "system", "user")]
    await ask(provider, "answer", *history, temperature=0.5)
    exchange = upstream.exchanges[0]
    assert exchange.path == "/v1/messages"
    assert exchange.body == {
        "model": "answer",
        "system": "system\n\nsystem",
        "messages": [{"role": role, "content": role} for role in ("user", "assistant", "user")],
        "max_tokens": 8192,
        "stream": True,
        "temperature": 0.5,
    }
    assert exchange.headers["anthropic-version"]


async def test_without_a_system_prompt_there_is_none(upstream: Upstream, provider: Provider) -> None:
    await ask(provider, "answer", ChatMessage("user", "hi"), max_tokens=100)
    assert "system" not in upstream.exchanges[0].body
    assert upstream.exchanges[0].body["max_tokens"] == 100


async def test_key_and_address_may_come_from_the_environment(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", upstream.root)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-environment")
    provider = SERVICES["anthropic"].provider()
    assert text(await ask(provider, "answer")) == ANSWER
    assert "sk-environment" in str(upstream.exchanges[0].headers)
    await provider.aclose()


async def test_tokens_are_read_from_the_connection_itself(upstream: Upstream, provider: Any) -> None:
    response = await provider._open(request("answer"))
    assert isinstance(byte_source(response), Body)
    await response.aclose()


async def test_comments_are_left_out(provider: Provider) -> None:
    assert text(await ask(provider, "answer?comments=1")) == ANSWER


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        ("a_word_of_its_own", "a_word_of_its_own"),
    ],
)
async def test_stop_reasons_get_their_usual_names(provider: Provider, reason: str, word: str) -> None:
    assert of_type(await ask(provider, f"answer?finish={reason}"), Finish) == [Finish(word)]


async def test_a_refusal_may_be_explained(upstream: Upstream, provider: Provider) -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "I will not."}
    script(upstream, message_start(), message_delta("refusal", stop_details=details), MESSAGE_STOP)
    parts = await ask(provider, "script")
    assert of_type(parts, RefusalDelta) == [RefusalDelta("I will not.")]
    assert of_type(parts, Finish) == [Finish("content_filter")]
    assert text(parts) == ""


async def test_other_blocks_do_no_harm(upstream: Upstream, provider: Provider) -> None:
    script(
        upstream,
        message_start(),
        block_start("thinking", thinking="so ", signature=""),
        block_delta("thinking_delta", thinking="hm"),
        block_delta("signature_delta", signature="xyz"),
        {"type": "content_block_stop", "index": 0},
        block_start("redacted_thinking", 1, data="xyz"),
        block_start("text", 2, text="It "),
        block_delta("citations_delta", 2, citation={"type": "char_location"}),
        block_delta("text_delta", 2, text="is"),
        block_start("server_tool_use", 3, id="srv", name="web_search", input={}),
        block_delta("input_json_delta", 3, partial_json='{"query": "a"}'),
        block_start("web_search_tool_result", 4, tool_use_id="srv", content=[]),
        block_delta("unheard_of_delta", 4, what="ever"),
        {"type": "unheard_of"},
        PING,
        message_delta("end_turn", 9),
        MESSAGE_STOP,
    )
    parts = await ask(provider, "script")
    assert "".join(part.text for part in of_type(parts, ReasoningDelta)) == "so hm"
    assert text(parts) == "It is"
    assert parts[-2:] == [Usage(14, 9, cached_tokens=4, cache_write_tokens=3), Finish("stop")]


async def test_the_last_figures_count(upstream: Upstream, provider: Provider) -> None:
    """A tool of the service's makes the input longer while it answers."""
    more = {"input_tokens": 70, "cache_read_input_tokens": 8, "cache_creation_input_tokens": None, "output_tokens": 9}
    end = {**message_delta(), "usage": {**more, "output_tokens_details": {"thinking_tokens": 5}}}
    script(upstream, message_start(), message_delta(None, 5), end, message_delta("end_turn", 99), MESSAGE_STOP)
    parts = await ask(provider, "script")
    assert of_type(parts, Usage) == [Usage(81, 9, reasoning_tokens=5, cached_tokens=8, cache_write_tokens=3)]
    assert of_type(parts, Finish) == [Finish("stop")]


@pytest.mark.parametrize("end", [RST, FIN, END])
async def test_the_last_event_may_be_missing(upstream: Upstream, provider: Provider, end: str) -> None:
    events = [message_start(), block_delta("text_delta", text="whole"), message_delta()]
    upstream.script = [HEAD, http_chunk(b"".join(map(named_event, events))), GATE, end]
    parts, _ = await asyncio.gather(ask(provider, "script"), upstream.pass_gate())
    assert text(parts) == "whole"
    assert of_type(parts, Finish) == [Finish("stop")]


async def test_a_ping_is_a_sign_of_life(upstream: Upstream, provider: Provider) -> None:
    start, ping = http_chunk(named_event(message_start())), http_chunk(named_event(PING))
    upstream.script = [HEAD, start, GATE, ping, GATE, http_chunk(named_event(message_delta())), END]
    stream = provider.stream(request("script"))
    assert await anext(stream) == ResponseStarted("msg_upstream")
    await upstream.pass_gate()
    assert isinstance(await anext(stream), Keepalive)
    await upstream.pass_gate()
    assert [type(part) for part in [part async for part in stream]] == [Usage, Finish]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", ProviderUnavailable),
        ("api_error", ProviderUnavailable),
        ("timeout_error", ProviderUnavailable),
        ("rate_limit_error", ProviderRateLimited),
        ("invalid_request_error", ProviderRejected),
        ("authentication_error", ProviderRejected),
        ("permission_error", ProviderRejected),
        ("billing_error", ProviderRejected),
        ("strange", ProviderError),
        ("invalid_request_error&message=prompt+is+too+long", ProviderContextExceeded),
    ],
)
async def test_an_error_in_the_stream(
    provider: Provider, caplog: pytest.LogCaptureFixture, kind: str, expected: type[ProviderError]
) -> None:
    parts, error = await fail(provider, f"error?error={kind}")
    assert text(parts) == "tok0 tok1 "
    assert type(error) is expected
    assert_silent(error, caplog.text)


async def test_a_whole_message_is_no_stream(provider: Provider) -> None:
    _, error = await fail(provider, "json")
    assert type(error) is ProviderMalformed


@pytest.mark.parametrize(
    "data",
    [
        {"no": "type"},
        [1, 2],
        "text",
        block_delta("text_delta"),
        block_delta("text_delta", text=5),
        block_delta("thinking_delta", thinking={}) | {"delta": {"type": "thinking_delta", "thinking": {"a": 1}}},
        {"type": "content_block_delta", "delta": []},
        block_delta("input_json_delta", partial_json={"a": 1}),
        block_start("tool_use", id="toolu_1", input={}),
        {"type": "message_delta", "usage": {}},
        {**message_delta(), "usage": {"output_tokens": "many"}},
        message_delta("refusal", stop_details={"explanation": 5}),
        {"type": "message_start", "message": []},
    ],
)
async def test_events_of_another_shape_are_malformed(upstream: Upstream, provider: Provider, data: Any) -> None:
    before = http_chunk(named_event(block_delta("text_delta", text="before")))
    upstream.script = [HEAD, before, http_chunk(event(data)), END]
    parts, error = await fail(provider, "script")
    assert text(parts) == "before"
    assert type(error) is ProviderMalformed
    assert error.__context__ is None
