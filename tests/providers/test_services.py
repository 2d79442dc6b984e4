"""What the providers of all services have in common: whole answers, cut ones, failures."""

from __future__ import annotations

import asyncio
import logging
from itertools import accumulate

import pytest

from llmstream.exceptions import (
    ProviderContextExceeded,
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderTruncated,
    ProviderUnavailable,
)
from llmstream.providers import ChatMessage, Finish, Provider, ReasoningDelta, ResponseStarted, Usage
from tests.upstream import END, FIN, GATE, RST, Upstream, nobody_there
from tests.upstream_wire import HEAD, http_chunk

from .asking import ask, assert_silent, fail, of_type, text
from .services import ANSWER, KEY, SERVICES, Service


@pytest.fixture
def provider(service_provider: Provider) -> Provider:
    """Each service's provider, which tries nothing twice."""
    return service_provider


async def test_an_answer_has_an_id_text_usage_and_a_finish(service: Service, provider: Provider) -> None:
    parts = await ask(provider, service.model("answer?rate=200"))
    assert parts[0] == ResponseStarted(service.response_id)
    assert of_type(parts, ResponseStarted) == parts[:1]
    assert text(parts) == ANSWER
    assert of_type(parts, Finish) == [Finish("stop")]
    assert of_type(parts, Usage)[-1] == service.usage


@pytest.mark.parametrize("shape", ["split=1", "split=7", "joined=1", "crlf=1", "crlf=1&split=1"])
async def test_the_cuts_between_segments_make_no_difference(service: Service, provider: Provider, shape: str) -> None:
    parts = await ask(provider, service.model(f"answer?reasoning=1&{shape}"))
    assert "".join(part.text for part in of_type(parts, ReasoningDelta)) == "think hard"
    assert text(parts) == ANSWER
    assert of_type(parts, Finish) == [Finish("stop")]
    assert of_type(parts, Usage)[-1] == service.thoughtful


async def test_text_beyond_ascii_survives_any_cut(upstream: Upstream, service: Service, provider: Provider) -> None:
    said = 'wörld 日本 🙂 \u2028 \u0085 \\ " end'
    data = b"".join(service.events(said))
    upstream.script = [HEAD, *(http_chunk(data[at : at + 1]) for at in range(len(data))), END]
    assert text(await ask(provider, "script")) == said


async def test_huge_tokens_come_whole(service: Service, provider: Provider) -> None:
    expected = "0".rjust(300_000, "x") + "1".rjust(300_000, "x")
    assert text(await ask(provider, service.model("answer?tokens=2&huge=300000"))) == expected


async def test_a_long_history_is_sent_whole(upstream: Upstream, service: Service, provider: Provider) -> None:
    history = [ChatMessage("user" if turn % 2 == 0 else "assistant", f"turn {turn} ☃") for turn in range(501)]
    await ask(provider, "answer", *history)
    sent = str(upstream.exchanges[0].body)
    assert [sent.count(f"'{message.content}'") for message in history] == [1] * 501


async def test_a_call_bears_the_key_and_the_generation(
    upstream: Upstream, service: Service, provider: Provider
) -> None:
    await ask(provider, "answer")
    headers = upstream.exchanges[0].headers
    assert headers["x-client-request-id"] == "generation-1"
    assert KEY in str(headers)


async def test_options_of_the_client_reach_the_service(upstream: Upstream, service: Service) -> None:
    provider = service.make(upstream, headers={"X-Title": "llmstream"})
    await ask(provider, "answer")
    assert upstream.exchanges[0].headers["x-title"] == "llmstream"
    await provider.aclose()


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("status?code=400", ProviderRejected),
        ("status?code=401", ProviderRejected),
        ("status?code=403", ProviderRejected),
        ("status?code=404", ProviderRejected),
        ("status?code=413", ProviderRejected),
        ("status?code=408", ProviderUnavailable),
        ("status?code=429", ProviderRateLimited),
        ("status?code=500", ProviderUnavailable),
        ("status?code=503", ProviderUnavailable),
        ("status?code=529", ProviderUnavailable),
        ("html", ProviderMalformed),
    ],
)
async def test_a_call_that_is_turned_down(
    service: Service,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    behaviour: str,
    expected: type[ProviderError],
) -> None:
    caplog.set_level(logging.DEBUG, "llmstream")
    parts, error = await fail(provider, service.model(behaviour))
    assert (parts, type(error)) == ([], expected)
    assert "generation-1" in caplog.text
    assert_silent(error, caplog.text)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("cut?rate=100", ProviderTruncated),
        ("cut?rate=100&how=fin", ProviderTruncated),
        ("broken", ProviderMalformed),
        ("error", ProviderUnavailable),
    ],
)
async def test_a_stream_that_fails_keeps_its_text(
    service: Service,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    behaviour: str,
    expected: type[ProviderError],
) -> None:
    parts, error = await fail(provider, service.model(behaviour))
    assert text(parts) == "tok0 tok1 "
    assert of_type(parts, Finish) == []
    assert type(error) is expected
    assert_silent(error, caplog.text)


@pytest.mark.parametrize("how", [RST, FIN])
async def test_a_cut_anywhere_leaves_what_came_whole(
    upstream: Upstream, service: Service, provider: Provider, how: str
) -> None:
    tokens = ("one ", "zwölf ", "三 ")
    frames = service.events(*tokens)
    ends = list(accumulate(map(len, frames)))
    finish = next(end for frame, end in zip(frames, ends, strict=True) if service.finish in frame)
    for at in sorted({1, *range(0, ends[-1], ends[-1] // 7), *ends, *(end - 1 for end in ends), *(ends[3:4])}):
        upstream.script = [HEAD, *([http_chunk(b"".join(frames)[:at])] if at else []), GATE, how]
        if at >= finish:
            parts, _ = await asyncio.gather(ask(provider, "script"), upstream.pass_gate())
            assert of_type(parts, Finish) == [Finish("stop")]
        else:
            (parts, error), _ = await asyncio.gather(fail(provider, "script"), upstream.pass_gate())
            assert type(error) is ProviderTruncated
        whole = b"".join(frame for frame, end in zip(frames, ends, strict=True) if end <= at)
        assert text(parts) == "".join(token for token in tokens if token.encode() in whole)


async def test_an_orderly_end_without_finish_is_left_to_the_caller(service: Service, provider: Provider) -> None:
    parts = await ask(provider, service.model("unfinished"))
    assert text(parts) == "tok0 tok1 "
    assert of_type(parts, Finish) == []


@pytest.mark.parametrize("end", [RST, FIN])
async def test_what_fails_after_the_finish_does_not_matter(
    upstream: Upstream, service: Service, provider: Provider, end: str
) -> None:
    upstream.script = [HEAD, http_chunk(b"".join(service.events("whole"))), GATE, end]
    parts, _ = await asyncio.gather(ask(provider, "script"), upstream.pass_gate())
    assert text(parts) == "whole"
    assert of_type(parts, Finish) == [Finish("stop")]


@pytest.mark.parametrize(
    "data",
    [
        b"data: {nonsense\n\n",
        b'data: {"type": "text", "text": "\xff\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
async def test_garbage_is_malformed(upstream: Upstream, service: Service, provider: Provider, data: bytes) -> None:
    upstream.script = [HEAD, http_chunk(b"".join(service.events("before", end=False))), http_chunk(data), END]
    parts, error = await fail(provider, "script")
    assert text(parts) == "before"
    assert type(error) is ProviderMalformed
    assert error.__context__ is None


@pytest.mark.parametrize(("headers", "expected"), [("retry_after=30", 30_000), ("retry_after=2.5", 2_500), ("", None)])
async def test_the_wait_of_a_rate_limit_is_told(
    service: Service, provider: Provider, headers: str, expected: int | None
) -> None:
    _, error = await fail(provider, service.model(f"status?code=429&{headers}"))
    assert error.retry_after_ms == expected


async def test_a_passing_failure_is_tried_again(upstream: Upstream, service: Service) -> None:
    provider = service.make(upstream, max_retries=2, max_retry_wait=0.5)
    assert text(await ask(provider, service.model("status?code=500&times=1&retry_after_ms=1"))) == ANSWER
    assert len(upstream.exchanges) == 2
    await provider.aclose()


async def test_a_long_wait_is_told_and_not_waited_for(upstream: Upstream, service: Service) -> None:
    provider = service.make(upstream, max_retries=2)
    _, error = await fail(provider, service.model("status?code=429&retry_after=20"))
    assert error.retry_after_ms == 20_000
    assert len(upstream.exchanges) == 1
    await provider.aclose()


async def test_nothing_is_tried_again_once_text_has_come(upstream: Upstream, service: Service) -> None:
    provider = service.make(upstream, max_retries=2)
    await fail(provider, service.model("cut?rate=100"))
    assert len(upstream.exchanges) == 1
    await provider.aclose()


@pytest.mark.parametrize("behaviour", ["silent?after=0&head=0", "silent?after=0", "silent?after=2"])
async def test_silence_ends_after_the_read_timeout(upstream: Upstream, service: Service, behaviour: str) -> None:
    provider = service.make(upstream, read_timeout=0.2)
    _, error = await fail(provider, service.model(behaviour))
    assert type(error) is ProviderTimeout
    exchange = await asyncio.to_thread(upstream.wait, 1)
    await asyncio.to_thread(upstream.wait_disconnect, exchange)
    await provider.aclose()


@pytest.mark.parametrize("host", ["127.0.0.1", "name.invalid"])
async def test_a_service_that_is_not_there(upstream: Upstream, service: Service, host: str) -> None:
    with nobody_there() as port:
        provider = service.make(upstream, base_url=f"http://{host}:{port}", trust_env=False)
        _, error = await fail(provider, "answer")
    assert type(error) is ProviderUnavailable
    assert_silent(error, "")
    await provider.aclose()


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 204644 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
        "The input token count (1182083) exceeds the maximum number of tokens allowed (1048576).",
    ],
)
@pytest.mark.parametrize("name", ["anthropic", "gemini"])
async def test_a_conversation_that_is_too_long_is_told_by_words_alone(
    upstream: Upstream, name: str, message: str
) -> None:
    service = SERVICES[name]
    provider = service.make(upstream)
    written = message.replace("&", "").replace(" ", "+").replace(";", "")
    _, error = await fail(provider, service.model(f"status?code=400&message={written}"))
    assert type(error) is ProviderContextExceeded
    assert_silent(error, "")
    await provider.aclose()
