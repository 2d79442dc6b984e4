"""``OpenAIProvider``: answers of a well-behaved service, in all the shapes that they have."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from llmstream.providers import ChatMessage, Finish, Keepalive, ReasoningDelta, RefusalDelta, ResponseStarted, Usage
from llmstream.providers.openai import OpenAIProvider
from tests.upstream import END, GATE, Upstream
from tests.upstream_chat import chunk
from tests.upstream_wire import HEAD, event, http_chunk

from .asking import ask, of_type, request, text
from .services import KEY

ANSWER = "tok0 tok1 tok2 tok3 tok4 "


def script(upstream: Upstream, *events: dict[str, Any] | str) -> None:
    """Have the model ``script`` send these events and end in an orderly way."""
    upstream.script = [HEAD, *(http_chunk(event(data)) for data in events), END]


async def test_an_answer_has_an_id_text_a_finish_and_usage(upstream: Upstream, provider: OpenAIProvider) -> None:
    started, *pieces, finish, usage = await ask(provider, "answer?rate=200")
    assert started == ResponseStarted("chatcmpl-upstream")
    assert text(pieces) == ANSWER
    assert finish == Finish("stop")
    assert usage == Usage(input_tokens=11, output_tokens=5, cached_tokens=4)


async def test_the_request_is_a_chat_completion(upstream: Upstream, provider: OpenAIProvider) -> None:
    await ask(provider, "answer", temperature=0.5, vendor_option={"x": 1})
    exchange = upstream.exchanges[0]
    assert exchange.body == {
        "model": "answer",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say something."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "vendor_option": {"x": 1},
    }
    assert exchange.headers["authorization"] == f"Bearer {KEY}"
    assert exchange.headers["x-client-request-id"] == "generation-1"


async def test_options_of_the_client_reach_the_service(upstream: Upstream) -> None:
    provider = OpenAIProvider(
        base_url=upstream.url, organization="org", project="proj", headers={"X-Title": "llmstream"}
    )
    await ask(provider, "answer")
    headers = upstream.exchanges[0].headers
    assert (headers["openai-organization"], headers["openai-project"], headers["x-title"]) == (
        "org",
        "proj",
        "llmstream",
    )
    await provider.aclose()


async def test_key_and_address_may_come_from_the_environment(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    provider = OpenAIProvider()
    assert text(await ask(provider, "answer")) == ANSWER
    assert upstream.exchanges[0].headers["authorization"] == "Bearer sk-environment"
    await provider.aclose()


async def test_a_service_that_wants_no_key_needs_none(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    provider = OpenAIProvider(base_url=upstream.url)
    assert text(await ask(provider, "answer")) == ANSWER
    await provider.aclose()


@pytest.mark.parametrize(
    "shape", ["split=1", "split=7", "joined=1", "crlf=1", "crlf=1&split=1", "comments=1", "comments=1&crlf=1&joined=1"]
)
async def test_the_cuts_between_segments_make_no_difference(provider: OpenAIProvider, shape: str) -> None:
    parts = await ask(provider, f"answer?reasoning=reasoning_content&{shape}")
    assert "".join(part.text for part in of_type(parts, ReasoningDelta)) == "think hard"
    assert text(parts) == ANSWER
    assert of_type(parts, Finish) == [Finish("stop")]
    assert of_type(parts, Usage) == [Usage(11, 5, reasoning_tokens=2, cached_tokens=4)]


async def test_huge_tokens_come_whole(provider: OpenAIProvider) -> None:
    assert text(await ask(provider, "answer?tokens=2&huge=300000")) == "0".rjust(300_000, "x") + "1".rjust(300_000, "x")


async def test_text_beyond_ascii_survives_any_cut(upstream: Upstream, provider: OpenAIProvider) -> None:
    said = 'wörld 日本 🙂 \u2028 \u0085 \\ " end'
    data = event(chunk({"content": said})) + event(chunk({}, "stop"))
    upstream.script = [HEAD, *(http_chunk(data[at : at + 1]) for at in range(len(data))), END]
    assert text(await ask(provider, "script")) == said


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
async def test_reasoning_has_two_names(provider: OpenAIProvider, name: str) -> None:
    parts = await ask(provider, f"answer?reasoning={name}&rate=200")
    assert "".join(part.text for part in of_type(parts, ReasoningDelta)) == "think hard"
    assert text(parts) == ANSWER


async def test_a_refusal_is_no_text(provider: OpenAIProvider) -> None:
    parts = await ask(provider, "answer?refusal=1")
    assert "".join(part.text for part in of_type(parts, RefusalDelta)) == ANSWER
    assert text(parts) == ""
    assert of_type(parts, Finish) == [Finish("stop")]


@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls", "a_word_of_its_own"])
async def test_finish_reasons_are_passed_on(provider: OpenAIProvider, reason: str) -> None:
    assert of_type(await ask(provider, f"answer?finish={reason}"), Finish) == [Finish(reason)]


async def test_cost_is_exact(provider: OpenAIProvider) -> None:
    [usage] = of_type(await ask(provider, "answer?cost=0.00014"), Usage)
    assert usage.cost == Decimal("0.00014")


@pytest.mark.parametrize("ending", ["usage=0", "done=0", "usage=0&done=0"])
async def test_usage_and_the_done_event_may_be_missing(provider: OpenAIProvider, ending: str) -> None:
    parts = await ask(provider, f"answer?{ending}")
    assert text(parts) == ANSWER
    assert of_type(parts, Finish) == [Finish("stop")]


async def test_usage_on_every_chunk_and_a_repeated_finish_reason(upstream: Upstream, provider: OpenAIProvider) -> None:
    script(
        upstream,
        chunk({"content": "a"}, usage={"prompt_tokens": 1, "completion_tokens": 1}),
        chunk({"content": "b"}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 2}),
        chunk({"content": ""}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 2, "cost": "0.5"}),
        "[DONE]",
    )
    parts = await ask(provider, "script")
    assert text(parts) == "ab"
    assert of_type(parts, Finish) == [Finish("stop")]
    assert of_type(parts, Usage)[-1] == Usage(1, 2, cost=Decimal("0.5"))


async def test_unknown_members_and_kinds_are_left_out(upstream: Upstream, provider: OpenAIProvider) -> None:
    script(
        upstream,
        chunk(obfuscation="xyz"),
        {"unheard": "of"},
        chunk({"role": "assistant", "content": None, "tool_calls": [{"index": 0, "function": {"name": "f"}}]}),
        chunk({"content": "text", "audio": {"data": ""}}),
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
        chunk({"content": [{"type": "text", "text": " and more"}]}),
        chunk({}, "stop"),
    )
    parts = await ask(provider, "script")
    assert text(parts) == "text and more"
    assert of_type(parts, ReasoningDelta) == [ReasoningDelta("hm")]


async def test_signs_of_life_without_content_are_told(upstream: Upstream, provider: OpenAIProvider) -> None:
    comment = http_chunk(b": OPENROUTER PROCESSING\n\n")
    upstream.script = [HEAD, comment, GATE, comment, GATE, *map(http_chunk, _whole()), END]
    stream = provider.stream(request("script"))
    for _ in range(2):
        assert isinstance(await anext(stream), Keepalive)
        await upstream.pass_gate()
    assert text([part async for part in stream]) == "all"


@pytest.mark.parametrize("code", [400, 422])
async def test_a_service_without_usage_is_asked_without_it(upstream: Upstream, code: int) -> None:
    provider = OpenAIProvider(base_url=upstream.url, api_key=KEY)
    assert text(await ask(provider, f"no_usage?code={code}&usage=0")) == ANSWER
    assert ["stream_options" in exchange.body for exchange in upstream.exchanges] == [True, False]
    assert text(await ask(provider, f"no_usage?code={code}&usage=0")) == ANSWER
    assert "stream_options" not in upstream.exchanges[2].body
    await provider.aclose()


async def test_usage_need_not_be_asked_for(upstream: Upstream) -> None:
    provider = OpenAIProvider(base_url=upstream.url, api_key=KEY, include_usage=False)
    await ask(provider, "answer")
    assert "stream_options" not in upstream.exchanges[0].body
    await provider.aclose()


async def test_a_long_history_is_sent_whole(upstream: Upstream, provider: OpenAIProvider) -> None:
    history = [ChatMessage("user" if turn % 2 == 0 else "assistant", f"turn {turn} ☃" * 50) for turn in range(501)]
    await ask(provider, "answer", *history)
    assert [message["content"] for message in upstream.exchanges[0].body["messages"]] == [
        message.content for message in history
    ]


def _whole() -> list[bytes]:
    return [event(json.loads(json.dumps(chunk({"content": "all"})))), event(chunk({}, "stop"))]
