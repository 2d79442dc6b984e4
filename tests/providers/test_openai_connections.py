"""``OpenAIProvider``: connections, event loops, and ends that the caller makes."""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
import threading
from contextlib import aclosing
from unittest.mock import Mock

import pytest

from llmstream.providers import ChatMessage, event_reader
from llmstream.providers.aiohttp_transport import Body
from llmstream.providers.byte_source import byte_source
from llmstream.providers.openai import OpenAIProvider
from llmstream.providers.per_loop import PerLoop
from tests.support import PATIENCE, within
from tests.upstream import END, Exchange, Upstream
from tests.upstream_chat import chunk
from tests.upstream_wire import HEAD, LAST, event, http_chunk

from .asking import ask, request, text
from .services import KEY

LONG = "answer?tokens=10000&rate=100"


async def start(provider: OpenAIProvider, upstream: Upstream, said: list[str]) -> asyncio.Task[None]:
    """Ask for a long answer in a task; return once its first token is there."""
    first = asyncio.Event()

    async def read() -> None:
        async with aclosing(provider.stream(request(LONG))) as parts:
            async for part in parts:
                if isinstance(part, str):
                    said.append(part)
                    first.set()

    task = asyncio.create_task(read())
    await within(first.wait())
    return task


async def assert_left(upstream: Upstream, exchange: Exchange) -> None:
    """The client has left, in no time but some turns of the loop, and with it the service's work ended."""
    for _ in range(50):
        await asyncio.sleep(0)
    upstream.wait_disconnect(exchange)  # It holds up the loop: what the client has not done by now, it does not do.
    assert exchange.finished is None
    assert exchange.tokens < 10_000
    upstream.wait_closed()


async def test_a_cancelled_answer_closes_its_connection_at_once(upstream: Upstream, provider: OpenAIProvider) -> None:
    task = await start(provider, upstream, [])
    task.cancel()
    await asyncio.wait([task])
    await assert_left(upstream, upstream.exchanges[0])


async def test_a_closed_generator_closes_its_connection_at_once(upstream: Upstream, provider: OpenAIProvider) -> None:
    stream = provider.stream(request(LONG))
    while not isinstance(await anext(stream), str):
        pass
    await stream.aclose()
    await assert_left(upstream, upstream.exchanges[0])


async def test_an_answer_may_be_cancelled_before_its_head(upstream: Upstream, provider: OpenAIProvider) -> None:
    task = asyncio.create_task(ask(provider, "silent?head=0"))
    exchange = await asyncio.to_thread(upstream.wait, 1)
    task.cancel()
    await asyncio.wait([task])
    await assert_left(upstream, exchange)


async def test_stopping_one_answer_leaves_the_others_alone(upstream: Upstream, provider: OpenAIProvider) -> None:
    other = asyncio.create_task(ask(provider, "answer?tokens=40&rate=100"))
    task = await start(provider, upstream, [])
    task.cancel()
    await asyncio.wait([task])
    assert text(await other) == "".join(f"tok{number} " for number in range(40))


async def test_finished_answers_share_a_connection(
    upstream: Upstream, provider: OpenAIProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reader, "_LAST_BYTES", PATIENCE)  # They are there soon, but who knows how soon.
    for model in ("answer", "answer?split=5", "status?code=401", "answer?linger=0.005"):
        await asyncio.gather(ask(provider, model), return_exceptions=True)
    assert {exchange.connection for exchange in upstream.exchanges} == {1}


async def test_a_body_that_never_ends_costs_its_connection_and_no_time(
    upstream: Upstream, provider: OpenAIProvider
) -> None:
    hundredths = 0

    async def count() -> None:
        nonlocal hundredths
        while True:
            await asyncio.sleep(0.01)
            hundredths += 1

    # Time in which this process is held up is none that the answer takes.
    counting = asyncio.create_task(count())
    assert text(await ask(provider, "answer?linger=60")) == "tok0 tok1 tok2 tok3 tok4 "
    counting.cancel()
    assert hundredths < 200
    await asyncio.to_thread(upstream.wait_closed)


async def test_a_hundred_answers_at_once(upstream: Upstream, provider: OpenAIProvider) -> None:
    answers = await asyncio.gather(*(ask(provider, f"answer?tokens={count}&rate=200") for count in range(100)))
    for count, parts in enumerate(answers):
        assert text(parts) == "".join(f"tok{number} " for number in range(count))


def test_an_instance_serves_one_event_loop_after_another(upstream: Upstream) -> None:
    provider = OpenAIProvider(base_url=upstream.url, api_key=KEY)
    for _ in range(3):
        assert text(asyncio.run(ask(provider, "answer"))) == "tok0 tok1 tok2 tok3 tok4 "
        upstream.wait_closed()
    assert {exchange.connection for exchange in upstream.exchanges} == {1, 2, 3}


def test_an_instance_serves_several_event_loops_at_once(upstream: Upstream) -> None:
    provider = OpenAIProvider(base_url=upstream.url, api_key=KEY)
    answers: list[str] = []

    def run() -> None:
        answers.append(text(asyncio.run(ask(provider, "answer?tokens=20&rate=100"))))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    assert len(answers) == 4


async def test_another_loop_may_come_while_one_looks_for_closed_ones() -> None:
    async def release(_: str) -> None:
        pass

    held = PerLoop(lambda: "made", release)

    def closed() -> bool:
        held._held[Mock()] = ("another", Mock())
        return True

    held._held[Mock(is_closed=closed)] = ("one", Mock())
    assert await held.get() == "made"
    await held.aclose()
    held._held.clear()


async def test_closing_is_safe_without_use_and_before_more_use(upstream: Upstream) -> None:
    provider = OpenAIProvider(base_url=upstream.url, api_key=KEY)
    await provider.aclose()
    await ask(provider, "answer")
    await provider.aclose()
    await asyncio.to_thread(upstream.wait_closed)
    assert text(await ask(provider, "answer")) == "tok0 tok1 tok2 tok3 tok4 "
    await provider.aclose()


@pytest.mark.parametrize("model", ["answer", LONG])
def test_a_process_ends_quietly_although_nobody_closed_anything(upstream: Upstream, model: str) -> None:
    code = f"""
import asyncio, threading
from llmstream.providers import ChatMessage, ProviderRequest
from llmstream.providers.openai import OpenAIProvider
from llmstream.providers.per_loop import PerLoop
provider = OpenAIProvider(base_url={upstream.url!r}, api_key="k")
said = threading.Event()
async def ask():
    async for part in provider.stream(ProviderRequest("g", {model!r}, [ChatMessage("user", "hi")])):
        if isinstance(part, str):
            said.set()
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
future = asyncio.run_coroutine_threadsafe(ask(), loop)
said.wait()
if {model == "answer"}:
    future.result()
else:
    future.cancel()
"""
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONWARNINGS": "default"}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


async def test_tokens_are_read_from_the_connection_itself(upstream: Upstream, provider: OpenAIProvider) -> None:
    response = await provider._open(request("answer"))
    assert isinstance(byte_source(response), Body)
    await response.aclose()


async def test_compressed_answers_are_read_too(upstream: Upstream, provider: OpenAIProvider) -> None:
    packed = gzip.compress(event(chunk({"content": "small"})) + event(chunk({}, "stop")))
    head = HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
    upstream.script = [head, http_chunk(packed), END]
    assert text(await ask(provider, "script")) == "small"


async def test_a_proxy_of_the_environment_is_used(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", upstream.url.removesuffix("/v1"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    provider = OpenAIProvider(base_url="http://service.invalid/v1", api_key=KEY)
    assert text(await ask(provider, "answer", ChatMessage("user", "hi"))) == "tok0 tok1 tok2 tok3 tok4 "
    assert upstream.exchanges[0].headers["host"] == "service.invalid"
    await provider.aclose()


async def test_behind_a_proxy_too_a_stopped_answer_closes_its_connection(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", upstream.url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "")
    provider = OpenAIProvider(base_url="http://service.invalid/v1", api_key=KEY)
    task = await start(provider, upstream, [])
    task.cancel()
    await asyncio.wait([task])
    await assert_left(upstream, upstream.exchanges[0])
    await provider.aclose()


async def test_a_server_that_closed_an_idle_connection_is_asked_on_a_new_one(upstream: Upstream) -> None:
    provider = OpenAIProvider(base_url=upstream.url, api_key=KEY)
    whole = http_chunk(event(chunk({"content": "x"})) + event(chunk({}, "stop")) + event("[DONE]")) + LAST
    upstream.script = [HEAD, whole, 0.05, "fin"]
    assert text(await ask(provider, "script")) == "x"
    await asyncio.to_thread(upstream.wait_closed)
    assert text(await ask(provider, "answer")) == "tok0 tok1 tok2 tok3 tok4 "
    await provider.aclose()
