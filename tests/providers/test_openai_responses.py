"""``OpenAIResponsesProvider``: what the Responses API says, and what is made of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmstream.exceptions import (
    ProviderContextExceeded,
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTruncated,
    ProviderUnavailable,
)
from llmstream.providers import Cursor, Finish, ReasoningDelta, RefusalDelta, ResponseStarted, Usage
from llmstream.providers.aiohttp_transport import Body
from llmstream.providers.byte_source import byte_source
from llmstream.providers.openai_responses import OpenAIResponsesProvider
from tests.upstream import END, Upstream
from tests.upstream_responses import ITEM, THOUGHT, figures, lifecycle, text_delta
from tests.upstream_wire import HEAD, http_chunk, named_event
from tests.upstream_wire import event as framed

from .asking import ask, assert_silent, fail, of_type, request, text
from .services import KEY

ANSWER = "tok0 tok1 tok2 tok3 tok4 "


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[OpenAIResponsesProvider]:
    """The provider under test."""
    found = OpenAIResponsesProvider(base_url=upstream.url, api_key=KEY, max_retries=0)
    yield found
    await found.aclose()


def script(upstream: Upstream, *events: dict[str, Any]) -> None:
    """Have the model ``script`` send these events, numbered, and end in an orderly way."""
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    upstream.script = [HEAD, *(http_chunk(named_event(event)) for event in numbered), END]


async def test_the_request_is_one_of_the_responses_api(upstream: Upstream, provider: OpenAIResponsesProvider) -> None:
    await ask(provider, "answer", temperature=0.5, reasoning={"effort": "low"})
    exchange = upstream.exchanges[0]
    assert exchange.path == "/v1/responses"
    assert exchange.body == {
        "model": "answer",
        "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say something."}],
        "stream": True,
        "temperature": 0.5,
        "reasoning": {"effort": "low"},
    }
    assert exchange.headers["authorization"] == f"Bearer {KEY}"


async def test_outside_of_the_background_there_are_no_cursors(provider: OpenAIResponsesProvider) -> None:
    assert of_type(await ask(provider, "answer"), Cursor) == []


async def test_comments_are_left_out(provider: OpenAIResponsesProvider) -> None:
    assert text(await ask(provider, "answer?comments=1")) == ANSWER


async def test_tokens_are_read_from_the_connection_itself(
    upstream: Upstream, provider: OpenAIResponsesProvider
) -> None:
    response = await provider._open(request("answer"))
    assert isinstance(byte_source(response), Body)
    await response.aclose()


@pytest.mark.parametrize("kind", ["summary", "text"])
async def test_reasoning_comes_as_a_summary_or_as_it_is(provider: OpenAIResponsesProvider, kind: str) -> None:
    parts = await ask(provider, f"answer?reasoning={kind}")
    assert "".join(part.text for part in of_type(parts, ReasoningDelta)) == "think hard"
    assert text(parts) == ANSWER


async def test_parts_of_summaries_are_kept_apart(upstream: Upstream, provider: OpenAIResponsesProvider) -> None:
    def part(index: int) -> dict[str, Any]:
        added = {"type": "response.reasoning_summary_part.added", "part": {"type": "summary_text", "text": ""}}
        return {**added, **THOUGHT, "summary_index": index}

    def thought(delta: str) -> dict[str, Any]:
        return {"type": "response.reasoning_summary_text.delta", **THOUGHT, "delta": delta}

    content = {"type": "response.content_part.added", **ITEM, "part": {"type": "output_text", "text": ""}}
    script(
        upstream,
        lifecycle("response.created"),
        *(part(0), thought("one"), part(1), thought("two"), part(0), thought("three")),
        *(content, text_delta("text"), part(0), thought("four"), text_delta(" more")),
        lifecycle("response.completed", "completed"),
    )
    said = [
        part if isinstance(part, str) else part.text
        for part in await ask(provider, "script")
        if isinstance(part, str | ReasoningDelta)
    ]
    assert "|".join(said).replace("|\n\n", "\n\n").replace("\n\n|", "\n\n") == "one\n\ntwo\n\nthree|text|four| more"


async def test_a_refusal_is_no_text(provider: OpenAIResponsesProvider) -> None:
    parts = await ask(provider, "answer?refusal=1")
    assert "".join(part.text for part in of_type(parts, RefusalDelta)) == ANSWER
    assert text(parts) == ""
    assert of_type(parts, Finish) == [Finish("stop")]


@pytest.mark.parametrize(
    ("reason", "word"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("max_messages", "max_messages")],
)
async def test_an_incomplete_response_has_its_reason(provider: OpenAIResponsesProvider, reason: str, word: str) -> None:
    parts = await ask(provider, f"answer?finish={reason}")
    assert text(parts) == ANSWER
    assert of_type(parts, Finish) == [Finish(word)]
    assert of_type(parts, Usage) == [Usage(11, 5, cached_tokens=4)]


async def test_an_incomplete_response_may_lack_a_reason(upstream: Upstream, provider: OpenAIResponsesProvider) -> None:
    script(upstream, lifecycle("response.created"), lifecycle("response.incomplete", "incomplete"))
    assert of_type(await ask(provider, "script"), Finish) == [Finish("incomplete")]


async def test_other_tools_are_a_reason_and_their_events_do_no_harm(
    upstream: Upstream, provider: OpenAIResponsesProvider
) -> None:
    item = {"type": "custom_tool_call", "id": "fc_1", "call_id": "call_1", "name": "look", "input": ""}
    place = {"item_id": "fc_1", "output_index": 0}
    script(
        upstream,
        lifecycle("response.created"),
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.custom_tool_call_input.delta", **place, "delta": "x"},
        {"type": "response.web_search_call.searching", **place},
        {"type": "response.mcp_call_arguments.delta", **place, "delta": "{}"},
        {"type": "response.image_generation_call.partial_image", **place, "partial_image_b64": ""},
        {"type": "response.output_text.annotation.added", **ITEM, "annotation_index": 0, "annotation": {}},
        {"type": "response.output_text.done", **ITEM, "text": "not said twice", "logprobs": []},
        {"type": "response.audio.delta", "delta": "xx"},
        {"type": "response.unheard_of", "delta": "y"},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        lifecycle("response.completed", "completed", output=[item], usage=figures(3)),
    )
    parts = await ask(provider, "script")
    assert parts == [ResponseStarted("resp_upstream"), Usage(11, 3, cached_tokens=4), Finish("tool_calls")]


async def test_a_queued_response_has_begun(upstream: Upstream, provider: OpenAIResponsesProvider) -> None:
    script(
        upstream,
        lifecycle("response.queued", "queued"),
        lifecycle("response.created"),
        lifecycle("response.in_progress"),
        text_delta("said"),
        lifecycle("response.completed", "completed"),
    )
    assert await ask(provider, "script") == [ResponseStarted("resp_upstream"), "said", Finish("stop")]


@pytest.mark.parametrize("form", ["", "&event=1"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("server_error", ProviderUnavailable),
        ("vector_store_timeout", ProviderUnavailable),
        ("rate_limit_exceeded", ProviderRateLimited),
        ("context_length_exceeded", ProviderContextExceeded),
        ("invalid_prompt", ProviderRejected),
        ("bio_policy", ProviderRejected),
        ("strange", ProviderError),
    ],
)
async def test_a_failed_response(
    provider: OpenAIResponsesProvider,
    caplog: pytest.LogCaptureFixture,
    form: str,
    code: str,
    expected: type[ProviderError],
) -> None:
    parts, error = await fail(provider, f"error?error={code}{form}")
    assert text(parts) == "tok0 tok1 "
    assert type(error) is expected
    assert_silent(error, caplog.text)


async def test_a_failed_response_tells_what_it_cost(upstream: Upstream, provider: OpenAIResponsesProvider) -> None:
    error = {"code": "server_error", "message": ""}
    script(
        upstream, lifecycle("response.created"), lifecycle("response.failed", "failed", error=error, usage=figures(2))
    )
    parts, _ = await fail(provider, "script")
    assert of_type(parts, Usage) == [Usage(11, 2, cached_tokens=4)]


async def test_a_response_that_somebody_else_cancelled_is_cut(
    upstream: Upstream, provider: OpenAIResponsesProvider
) -> None:
    script(upstream, lifecycle("response.created"), text_delta("a"), lifecycle("response.cancelled", "cancelled"))
    parts, error = await fail(provider, "script")
    assert text(parts) == "a"
    assert type(error) is ProviderTruncated


async def test_a_context_that_is_too_long_is_told_by_its_code(provider: OpenAIResponsesProvider) -> None:
    _, error = await fail(provider, "status?code=400&error=context_length_exceeded")
    assert type(error) is ProviderContextExceeded


async def test_a_whole_response_is_no_stream(provider: OpenAIResponsesProvider) -> None:
    _, error = await fail(provider, "json")
    assert type(error) is ProviderMalformed


@pytest.mark.parametrize(
    "event",
    [
        {"no": "type"},
        [1, 2],
        "text",
        {"type": "response.output_text.delta", "delta": 5},
        {"type": "response.output_text.delta"},
        {"type": "response.reasoning_text.delta", "delta": {}},
        {"type": "response.refusal.delta", "delta": None},
        {"type": "response.completed", "response": []},
        {"type": "response.completed", "response": {"output": [{"type": "function_call"}]}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "function_call", "name": "look"}},
        {"type": "response.output_item.done", "output_index": 0},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": {"a": 1}},
        {"type": "response.function_call_arguments.done", "arguments": "{}"},
        {"type": "response.completed", "response": {"usage": {"input_tokens": "many"}}},
        {"type": "response.output_text.delta", "delta": "x", "sequence_number": "one"},
        {"type": []},
    ],
)
async def test_events_of_another_shape_are_malformed(
    upstream: Upstream, provider: OpenAIResponsesProvider, event: Any
) -> None:
    upstream.script = [HEAD, http_chunk(named_event(text_delta("before"))), http_chunk(framed(event)), END]
    parts, error = await fail(provider, "script")
    assert text(parts) == "before"
    assert type(error) is ProviderMalformed
    assert error.__context__ is None
