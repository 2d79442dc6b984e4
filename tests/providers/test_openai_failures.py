"""``OpenAIProvider``: what the service does wrong, and what of it is told."""

from __future__ import annotations

import asyncio
import logging
import time
from email.utils import formatdate

import pytest

from llmstream.exceptions import (
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderTruncated,
    ProviderUnavailable,
)
from llmstream.providers import Finish, ProviderContextExceeded
from llmstream.providers.openai import OpenAIProvider
from tests.upstream import END, FIN, RST, Upstream, nobody_there
from tests.upstream_chat import chunk
from tests.upstream_wire import HEAD, event, http_chunk

from .asking import ask, assert_silent, fail, of_type, text
from .services import KEY


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("status?code=400", ProviderRejected),
        ("status?code=401", ProviderRejected),
        ("status?code=403", ProviderRejected),
        ("status?code=404", ProviderRejected),
        ("status?code=413", ProviderRejected),
        ("status?code=400&error=context_length_exceeded", ProviderContextExceeded),
        ("status?code=408", ProviderUnavailable),
        ("status?code=429", ProviderRateLimited),
        ("status?code=500", ProviderUnavailable),
        ("status?code=503", ProviderUnavailable),
        ("status?code=529", ProviderUnavailable),
        ("html", ProviderMalformed),
        ("json", ProviderMalformed),
    ],
)
async def test_a_call_that_is_turned_down(
    provider: OpenAIProvider, caplog: pytest.LogCaptureFixture, model: str, expected: type[ProviderError]
) -> None:
    caplog.set_level(logging.DEBUG, "llmstream")
    parts, error = await fail(provider, model)
    assert (parts, type(error)) == ([], expected)
    assert "generation-1" in caplog.text
    assert_silent(error, caplog.text)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("cut?rate=100", ProviderTruncated),
        ("cut?rate=100&how=fin", ProviderTruncated),
        ("broken", ProviderMalformed),
        ("error", ProviderUnavailable),
        ("error?chunk=1", ProviderUnavailable),
        ("error?error=rate_limit_exceeded", ProviderRateLimited),
        ("error?error=429", ProviderRateLimited),
        ("error?error=502", ProviderUnavailable),
        ("error?error=400", ProviderRejected),
        ("error?error=context_length_exceeded", ProviderContextExceeded),
        ("error?error=strange", ProviderError),
    ],
)
async def test_a_stream_that_fails_keeps_its_text(
    provider: OpenAIProvider, caplog: pytest.LogCaptureFixture, model: str, expected: type[ProviderError]
) -> None:
    parts, error = await fail(provider, model)
    assert text(parts) == "tok0 tok1 "
    assert of_type(parts, Finish) == []
    assert type(error) is expected
    assert_silent(error, caplog.text)


async def test_an_orderly_end_without_finish_is_left_to_the_caller(provider: OpenAIProvider) -> None:
    parts = await ask(provider, "unfinished")
    assert text(parts) == "tok0 tok1 "
    assert of_type(parts, Finish) == []


@pytest.mark.parametrize(
    "data",
    [
        b"data: [1, 2]\n\n",
        b'data: "text"\n\n',
        b'data: {"choices": 5}\n\n',
        b'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
        b'data: {"choices": [{"delta": {"reasoning": {"a": 1}}}]}\n\n',
        b'data: {"choices": [], "usage": {"prompt_tokens": "many"}}\n\n',
        b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: " + b"x" * 9_000_000,
    ],
)
async def test_garbage_is_malformed(upstream: Upstream, provider: OpenAIProvider, data: bytes) -> None:
    upstream.script = [HEAD, http_chunk(event(chunk({"content": "before"}))), http_chunk(data), END]
    parts, error = await fail(provider, "script")
    assert text(parts) == "before"
    assert type(error) is ProviderMalformed
    assert error.__context__ is None


@pytest.mark.parametrize("end", [RST, FIN])
async def test_what_fails_after_the_finish_does_not_matter(
    upstream: Upstream, provider: OpenAIProvider, end: str
) -> None:
    answer = http_chunk(event(chunk({"content": "whole"})) + event(chunk({}, "stop")))
    upstream.script = [HEAD, answer, 0.05, end]
    parts = await ask(provider, "script")
    assert text(parts) == "whole"
    assert of_type(parts, Finish) == [Finish("stop")]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("retry_after=30", 30_000),
        ("retry_after=2.5", 2_500),
        ("retry_after_ms=1500&retry_after=9", 1_500),
        ("retry_after=soon", None),
        ("", None),
    ],
)
async def test_the_wait_of_a_rate_limit_is_told(provider: OpenAIProvider, headers: str, expected: int | None) -> None:
    _, error = await fail(provider, f"status?code=429&{headers}")
    assert error.retry_after_ms == expected


async def test_the_wait_of_a_rate_limit_may_be_a_date(provider: OpenAIProvider) -> None:
    date = formatdate(time.time() + 60, usegmt=True).replace(" ", "%20").replace("+", "%2B")
    _, error = await fail(provider, f"status?code=429&retry_after={date}")
    assert error.retry_after_ms is not None
    assert 50_000 < error.retry_after_ms <= 60_000


async def test_a_passing_failure_is_tried_again(upstream: Upstream) -> None:
    provider = OpenAIProvider(base_url=upstream.url, api_key=KEY, max_retries=2)
    assert text(await ask(provider, "status?code=500&times=1&retry_after_ms=1")) == "tok0 tok1 tok2 tok3 tok4 "
    assert len(upstream.exchanges) == 2
    await provider.aclose()


async def test_a_long_wait_is_told_and_not_waited_for(upstream: Upstream) -> None:
    provider = OpenAIProvider(base_url=upstream.url, api_key=KEY, max_retries=2)
    _, error = await fail(provider, "status?code=429&retry_after=20")
    assert error.retry_after_ms == 20_000
    assert len(upstream.exchanges) == 1
    await provider.aclose()


async def test_nothing_is_tried_again_once_text_has_come(upstream: Upstream) -> None:
    provider = OpenAIProvider(base_url=upstream.url, api_key=KEY, max_retries=2)
    await fail(provider, "cut?rate=100")
    assert len(upstream.exchanges) == 1
    await provider.aclose()


@pytest.mark.parametrize("model", ["silent?after=0&head=0", "silent?after=0", "silent?after=2"])
async def test_silence_ends_after_the_read_timeout(upstream: Upstream, model: str) -> None:
    provider = OpenAIProvider(base_url=upstream.url, api_key=KEY, max_retries=0, read_timeout=0.2)
    _, error = await fail(provider, model)
    assert type(error) is ProviderTimeout
    exchange = await asyncio.to_thread(upstream.wait, 1)
    await asyncio.to_thread(upstream.wait_disconnect, exchange)
    await provider.aclose()


async def test_a_service_that_is_not_there() -> None:
    with nobody_there() as port:
        provider = OpenAIProvider(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0)
        _, error = await fail(provider)
    assert type(error) is ProviderUnavailable
    await provider.aclose()


@pytest.mark.parametrize("url", ["http://name.invalid/v1", "ftp://127.0.0.1/v1", "https://127.0.0.1:1/v1"])
async def test_an_address_that_leads_nowhere(url: str) -> None:
    provider = OpenAIProvider(base_url=url, api_key=KEY, max_retries=0, trust_env=False)
    _, error = await fail(provider)
    assert type(error) is ProviderUnavailable
    await provider.aclose()
