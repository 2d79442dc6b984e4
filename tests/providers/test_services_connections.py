"""What the providers of all services have in common: connections, event loops, and ends that the caller makes."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing

import pytest

from llmstream.providers import ChatMessage, Provider, event_reader
from tests.support import PATIENCE, within
from tests.upstream import Upstream

from .asking import ask, request, text
from .services import ANSWER, Service


@pytest.fixture
def provider(service_provider: Provider) -> Provider:
    """Each service's provider, which tries nothing twice."""
    return service_provider


async def test_a_closed_stream_closes_its_connection(upstream: Upstream, service: Service, provider: Provider) -> None:
    stream = provider.stream(request(service.model("answer?tokens=10000&rate=100")))
    while not isinstance(await anext(stream), str):
        pass
    gc.disable()  # It closes what nobody refers to any more, some time or other.
    try:
        await stream.aclose()
        await _assert_left(upstream)
    finally:
        gc.enable()


async def test_a_cancelled_stream_closes_its_connection(
    upstream: Upstream, service: Service, provider: Provider
) -> None:
    first = asyncio.Event()

    async def read() -> None:
        async with aclosing(provider.stream(request(service.model("answer?tokens=10000&rate=100")))) as parts:
            async for part in parts:
                if isinstance(part, str):
                    first.set()

    task = asyncio.create_task(read())
    await within(first.wait())
    task.cancel()
    await asyncio.wait([task])
    await _assert_left(upstream)


async def _assert_left(upstream: Upstream) -> None:
    exchange = upstream.exchanges[0]
    await asyncio.to_thread(upstream.wait_disconnect, exchange)
    assert exchange.finished is None
    await asyncio.to_thread(upstream.wait_closed)


async def test_a_call_may_be_cancelled_before_its_head(
    upstream: Upstream, service: Service, provider: Provider
) -> None:
    task = asyncio.create_task(ask(provider, service.model("silent?head=0")))
    exchange = await asyncio.to_thread(upstream.wait, 1)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.to_thread(upstream.wait_disconnect, exchange)


async def test_finished_answers_share_a_connection(
    upstream: Upstream, service: Service, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reader, "_LAST_BYTES", PATIENCE)  # They are there soon, but who knows how soon.
    for behaviour in ("answer", "answer?split=5", "status?code=401", "answer?linger=0.005"):
        await asyncio.gather(ask(provider, service.model(behaviour)), return_exceptions=True)
    assert {exchange.connection for exchange in upstream.exchanges} == {1}


async def test_many_answers_at_once(service: Service, provider: Provider) -> None:
    answers = await asyncio.gather(
        *(ask(provider, service.model(f"answer?tokens={count}&rate=200")) for count in range(30))
    )
    for count, parts in enumerate(answers):
        assert text(parts) == "".join(f"tok{number} " for number in range(count))


def test_an_instance_serves_one_event_loop_after_another(upstream: Upstream, service: Service) -> None:
    provider = service.make(upstream)
    for _ in range(3):
        assert text(asyncio.run(ask(provider, "answer"))) == ANSWER
        upstream.wait_closed()
    assert {exchange.connection for exchange in upstream.exchanges} == {1, 2, 3}


async def test_closing_is_safe_without_use_and_before_more_use(upstream: Upstream, service: Service) -> None:
    provider = service.make(upstream)
    await provider.aclose()
    await ask(provider, "answer")
    await provider.aclose()
    await asyncio.to_thread(upstream.wait_closed)
    assert text(await ask(provider, "answer")) == ANSWER
    await provider.aclose()


async def test_a_proxy_of_the_environment_is_used(
    upstream: Upstream, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", upstream.root)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.delenv("NO_PROXY", raising=False)
    provider = service.make(upstream, base_url="http://service.invalid")
    # The path of the Responses API belongs to the base URL, so any will do here.
    parts = await ask(provider, "answer", ChatMessage("user", "hi"))
    assert text(parts) == ANSWER
    assert upstream.exchanges[0].headers["host"] == "service.invalid"
    await provider.aclose()
