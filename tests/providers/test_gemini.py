"""``GeminiProvider``: what generateContent says, and what is made of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmstream.exceptions import (
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
from tests.upstream import END, GATE, Upstream
from tests.upstream_gemini import content
from tests.upstream_wire import HEAD, event, http_chunk

from .asking import ask, assert_silent, fail, of_type, request, text
from .services import KEY, SERVICES

ANSWER = "tok0 tok1 tok2 tok3 tok4 "


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[Provider]:
    """The provider under test."""
    found = SERVICES["gemini"].make(upstream)
    yield found
    await found.aclose()


def script(upstream: Upstream, *chunks: dict[str, Any]) -> None:
    """Have the model ``script`` send these chunks and end in an orderly way."""
    upstream.script = [HEAD, *(http_chunk(event(chunk)) for chunk in chunks), END]


async def test_the_request_is_one_of_generate_content(upstream: Upstream, provider: Provider) -> None:
    history = [ChatMessage(role, role) for role in ("system", "user", "assistant", "system", "user")]
    thinking = {"include_thoughts": True, "thinking_budget": 100}
    await ask(provider, "answer", *history, temperature=0.5, max_output_tokens=50, thinking_config=thinking)
    exchange = upstream.exchanges[0]
    assert exchange.path.partition("/models/")[2] == "answer:streamGenerateContent?alt=sse"
    body = exchange.body
    assert [turn["role"] for turn in body["contents"]] == ["user", "model", "user"]
    assert [turn["parts"] for turn in body["contents"]] == [[{"text": role}] for role in ("user", "assistant", "user")]
    assert body["systemInstruction"]["parts"] == [{"text": "system\n\nsystem"}]
    config = body["generationConfig"]
    assert (config["temperature"], config["maxOutputTokens"]) == (0.5, 50)
    assert config["thinkingConfig"] == thinking
    assert exchange.headers["x-goog-api-key"] == KEY
    assert "x-server-timeout" not in exchange.headers


async def test_without_a_system_prompt_there_is_none(upstream: Upstream, provider: Provider) -> None:
    await ask(provider, "answer", ChatMessage("user", "hi"))
    assert "systemInstruction" not in upstream.exchanges[0].body


async def test_key_and_address_may_come_from_the_environment(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", upstream.root)
    monkeypatch.setenv("GEMINI_API_KEY", "key-of-the-environment")
    provider = SERVICES["gemini"].provider()
    assert text(await ask(provider, "answer")) == ANSWER
    assert upstream.exchanges[0].headers["x-goog-api-key"] == "key-of-the-environment"
    await provider.aclose()


async def test_a_parameter_that_there_is_not_is_not_sent(upstream: Upstream, provider: Provider) -> None:
    with pytest.raises(ValueError, match="no_such_parameter"):
        await ask(provider, "answer", no_such_parameter=1)
    assert upstream.exchanges == []


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("LANGUAGE", "language"),
        ("OTHER", "other"),
        ("MALFORMED_FUNCTION_CALL", "malformed_function_call"),
    ],
)
async def test_finish_reasons_get_their_usual_names(provider: Provider, reason: str, word: str) -> None:
    assert of_type(await ask(provider, f"answer;finish={reason}"), Finish) == [Finish(word)]


async def test_a_finish_reason_that_is_new_is_passed_on(provider: Provider) -> None:
    with pytest.warns(UserWarning, match="BRAND_NEW"):
        parts = await ask(provider, "answer;finish=BRAND_NEW")
    assert of_type(parts, Finish) == [Finish("brand_new")]


@pytest.mark.parametrize("message", ["", "Not this."])
async def test_a_prompt_that_is_blocked_has_no_answer(upstream: Upstream, provider: Provider, message: str) -> None:
    feedback = {"blockReason": "PROHIBITED_CONTENT", **({"blockReasonMessage": message} if message else {})}
    script(upstream, {"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 3}, "responseId": "r"})
    parts = await ask(provider, "script")
    assert of_type(parts, Finish) == [Finish("content_filter")]
    assert of_type(parts, RefusalDelta) == [RefusalDelta(message)] * bool(message)
    assert of_type(parts, Usage) == [Usage(3, 0)]


async def test_other_parts_do_no_harm(upstream: Upstream, provider: Provider) -> None:
    script(
        upstream,
        content({"text": "hm", "thought": True, "thoughtSignature": "eHl6"}),
        content({"executableCode": {"language": "PYTHON", "code": "1"}}),
        content({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}, {"text": "It "}, {"text": "is"}),
        content({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        {"candidates": [{"index": 0}], "unheardOf": True},
        content({"text": ""}, finish="STOP", groundingMetadata={"webSearchQueries": ["a"]}),
    )
    parts = await ask(provider, "script")
    assert of_type(parts, ReasoningDelta) == [ReasoningDelta("hm")]
    assert text(parts) == "It is"
    assert of_type(parts, Finish) == [Finish("stop")]


async def test_figures_come_as_they_grow(upstream: Upstream, provider: Provider) -> None:
    counts = {"promptTokenCount": 9, "toolUsePromptTokenCount": 2, "cachedContentTokenCount": 4}
    script(
        upstream,
        content({"text": "a"}, usageMetadata=counts),
        content({"text": "b"}, usageMetadata={**counts, "candidatesTokenCount": 2, "thoughtsTokenCount": 3}),
        content({"text": "c"}, usageMetadata={**counts, "candidatesTokenCount": 2, "thoughtsTokenCount": 3}),
        content(finish="STOP", usageMetadata={**counts, "candidatesTokenCount": 4, "thoughtsTokenCount": 3}),
    )
    assert of_type(await ask(provider, "script"), Usage) == [
        Usage(11, 0, cached_tokens=4),
        Usage(11, 5, reasoning_tokens=3, cached_tokens=4),
        Usage(11, 7, reasoning_tokens=3, cached_tokens=4),
    ]


async def test_a_chunk_without_content_is_a_sign_of_life(upstream: Upstream, provider: Provider) -> None:
    chunks = [content(), content(), content({"text": "said"}, finish="STOP")]
    first, second, third = (http_chunk(event(chunk)) for chunk in chunks)
    upstream.script = [HEAD, first, GATE, second, GATE, third, END]
    stream = provider.stream(request("script"))
    assert await anext(stream) == ResponseStarted("gemini-upstream")
    await upstream.pass_gate()
    assert isinstance(await anext(stream), Keepalive)
    await upstream.pass_gate()
    assert [part async for part in stream] == ["said", Finish("stop")]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("400", ProviderRejected),
        ("429", ProviderRateLimited),
        ("429;delay=19.5s", ProviderRateLimited),
        ("500", ProviderUnavailable),
        ("503", ProviderUnavailable),
    ],
)
@pytest.mark.parametrize("after", [0, 2])
async def test_an_error_in_the_stream(
    provider: Provider, caplog: pytest.LogCaptureFixture, error: str, expected: type[ProviderError], after: int
) -> None:
    parts, raised = await fail(provider, f"error;error={error};after={after}")
    assert text(parts) == "tok0 tok1 "[: after * 5]
    assert type(raised) is expected
    assert raised.retry_after_ms == (19_500 if "delay" in error else None)
    assert_silent(raised, caplog.text)


@pytest.mark.parametrize(("delay", "expected"), [("30s", 30_000), ("0.25s", 250), ("soon", 7_000), ("", 7_000)])
async def test_the_wait_of_a_rate_limit_is_in_the_error(provider: Provider, delay: str, expected: int) -> None:
    _, error = await fail(provider, f"status;code=429;retry_after=7;delay={delay}")
    assert error.retry_after_ms == expected


async def test_a_rate_limit_is_told_at_once(upstream: Upstream) -> None:
    provider = SERVICES["gemini"].provider(base_url=upstream.root, api_key=KEY)
    _, error = await fail(provider, "status;code=429;delay=0s")
    assert (type(error), error.retry_after_ms) == (ProviderRateLimited, 0)
    assert len(upstream.exchanges) == 1
    await provider.aclose()


async def test_a_key_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="key"):
        SERVICES["gemini"].provider()


@pytest.mark.parametrize(
    "data",
    [
        {"candidates": 5},
        {"candidates": [{"content": {"parts": [{"text": 5}]}}]},
        {"candidates": [{"content": "text"}]},
        {"usageMetadata": {"promptTokenCount": "many"}},
    ],
)
async def test_chunks_of_another_shape_are_malformed(upstream: Upstream, provider: Provider, data: Any) -> None:
    script(upstream, content({"text": "before"}), data)
    parts, error = await fail(provider, "script")
    assert text(parts) == "before"
    assert type(error) is ProviderMalformed
    assert error.__context__ is None
