"""``LocalProvider``: the embedded model answers, several at once, and lets go when it is told to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from unittest.mock import Mock

import psutil
import pytest

from llmstream.exceptions import ProviderTruncated, ProviderUnavailable
from llmstream.providers import (
    ChatMessage,
    Finish,
    Keepalive,
    ProviderContextExceeded,
    ResponseStarted,
    Usage,
    local_engine,
)
from llmstream.providers.local import LocalProvider
from llmstream.providers.local_engine import EngineOptions, LocalEngine
from llmstream.providers.local_server import Order, serve
from tests.support import PATIENCE, within

from .asking import ask, fail, of_type, request, text

#: Few options make few engines: every test but the last ones shares one.
OPTIONS = {"context": 256, "slots": 2}
QUESTION = ChatMessage("user", "What is the capital of France?")
STORY = ChatMessage("user", "Tell me a long story about the sea.")
#: Answers that fill it take many seconds, so that one is still at work when its test has been held up for two or three.
ROOMY = {"context": 2048, "slots": 2}
ENDLESS = {"max_tokens": 4000, "ignore_eos": True}


@pytest.fixture
async def provider() -> AsyncIterator[LocalProvider]:
    """A provider on an engine that the tests share."""
    found = LocalProvider(**OPTIONS)  # type: ignore[arg-type]
    yield found
    await found.aclose()


@pytest.fixture
async def talker() -> AsyncIterator[LocalProvider]:
    """A provider whose answers may be long."""
    found = LocalProvider(**ROOMY)  # type: ignore[arg-type]
    yield found
    await found.aclose()


def engine_process(provider: LocalProvider) -> psutil.Process:
    """Return the process of a running engine."""
    process = provider._engine._process
    assert process is not None
    return psutil.Process(process.pid)


async def test_it_answers(provider: LocalProvider) -> None:
    parts = await ask(provider, "", QUESTION, temperature=0, max_tokens=30)
    assert "Paris" in text(parts)
    assert len(of_type(parts, ResponseStarted)) == 1
    assert len(of_type(parts, Finish)) == 1
    [usage] = of_type(parts, Usage)
    assert usage.input_tokens > 5
    assert 0 < usage.output_tokens <= 30


async def test_it_stops_at_the_given_length(provider: LocalProvider) -> None:
    parts = await ask(provider, "", STORY, max_tokens=5)
    assert of_type(parts, Finish) == [Finish("length")]
    assert of_type(parts, Usage)[0].output_tokens == 5


async def test_several_answers_at_once_and_one_that_waits(provider: LocalProvider) -> None:
    answers = await asyncio.gather(*(ask(provider, "", STORY, max_tokens=15, seed=seed) for seed in range(3)))
    assert [of_type(parts, Usage)[0].output_tokens for parts in answers] == [15, 15, 15]


async def test_loading_is_done_once_and_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = LocalProvider(context=128, slots=1)
    launch, threads = provider._engine._launch, []

    def watched() -> local_engine.Address:
        threads.append(threading.current_thread())
        return launch()

    monkeypatch.setattr(provider._engine, "_launch", watched)
    answers = await asyncio.gather(*(ask(provider, "", QUESTION, max_tokens=3) for _ in range(2)))
    assert all(text(parts) for parts in answers)
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()
    await provider.aclose()
    provider._engine._stop()


async def test_it_gets_ready_once_and_answers_from_there() -> None:
    provider = LocalProvider(context=192, slots=1)
    await asyncio.gather(provider.prepare(), provider.prepare())
    ready = engine_process(provider)
    assert text(await ask(provider, "", QUESTION, max_tokens=3))
    await provider.prepare()
    assert engine_process(provider) == ready
    await provider.aclose()
    provider._engine._stop()


def worked(provider: LocalProvider) -> float:
    """Return the seconds that a running engine has worked, which are not those that anybody was held up."""
    return sum(engine_process(provider).cpu_times()[:2])


async def rests(provider: LocalProvider) -> bool:
    """Whether a running engine does nothing for a moment."""
    before = worked(provider)
    await asyncio.sleep(0.3)
    return worked(provider) - before < 0.1


async def test_a_stopped_answer_frees_its_slot(talker: LocalProvider) -> None:
    for _ in range(3):  # More than there are slots.
        async with aclosing(talker.stream(request("", STORY, **ENDLESS))) as parts:
            async for part in parts:
                if isinstance(part, str):
                    break
    before = worked(talker)
    await within(ask(talker, "", QUESTION, max_tokens=1))
    while not await rests(talker):
        assert worked(talker) - before < 5
    assert worked(talker) - before < 5


async def test_a_prompt_beyond_the_context_is_told(provider: LocalProvider) -> None:
    with pytest.raises(ProviderContextExceeded):
        await ask(provider, "", ChatMessage("user", "word " * 600))


async def test_an_answer_that_fills_the_context_ends_there(provider: LocalProvider) -> None:
    parts = await ask(provider, "", ChatMessage("user", "word " * 210), max_tokens=400, ignore_eos=True)
    assert of_type(parts, Finish) == [Finish("length")]


async def test_providers_with_equal_options_share_an_engine(provider: LocalProvider) -> None:
    await ask(provider, "", QUESTION, max_tokens=1)
    other = LocalProvider(**OPTIONS)  # type: ignore[arg-type]
    await ask(other, "", QUESTION, max_tokens=1)
    assert engine_process(other) == engine_process(provider)
    await other.aclose()


def test_it_serves_one_event_loop_after_another() -> None:
    provider = LocalProvider(**OPTIONS)  # type: ignore[arg-type]
    for _ in range(2):
        assert text(asyncio.run(ask(provider, "", QUESTION, max_tokens=3)))


async def test_only_who_has_the_key_may_ask(provider: LocalProvider) -> None:
    await ask(provider, "", QUESTION, max_tokens=1)
    address = provider._engine.address
    assert address is not None
    assert address.api_key not in " ".join(engine_process(provider).cmdline())
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.url.split(":")[2].split("/")[0]))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    assert b" 401 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


def test_nobody_can_take_its_port_before_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    llama = Mock()
    monkeypatch.setitem(sys.modules, "xllamacpp", llama)
    serve(Order("model.gguf", "key", 256, 1, 1))
    assert llama.Server.call_args.args[0].port == 0


def test_an_engine_may_be_stopped_while_another_thread_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LocalEngine(EngineOptions(Path(), 256, 1, 1))
    engine._owner = os.getpid()
    dead = iter([Mock(poll=lambda: -9), None])
    monkeypatch.setattr(LocalEngine, "_process", property(lambda _: next(dead)), raising=False)
    assert engine.address is None


async def test_an_engine_that_dies_is_started_again(talker: LocalProvider) -> None:
    stream = talker.stream(request("", STORY, **ENDLESS))
    while not isinstance(await anext(stream), str):
        pass
    engine_process(talker).kill()
    with pytest.raises(ProviderTruncated):
        async for _ in stream:
            pass
    engine_process(talker).wait(PATIENCE)
    assert text(await ask(talker, "", QUESTION, max_tokens=3))
    talker._engine._stop()


async def test_a_missing_file_names_the_command(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, error = await fail(LocalProvider(model_path=tmp_path / "none.gguf"))
    assert type(error) is ProviderUnavailable
    assert "manage.py llmstream_fetch_model" in caplog.text


async def test_a_file_that_is_no_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"GGUF" + bytes(1000))
    _, error = await fail(LocalProvider(model_path=wrong))
    assert type(error) is ProviderUnavailable
    assert "cannot be run" in caplog.text


async def test_a_missing_package_names_the_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xllamacpp.py").write_text("raise ModuleNotFoundError('no xllamacpp')")
    # First on the path of the model's process.
    monkeypatch.setattr(local_engine, "PATH", [str(tmp_path), *local_engine.PATH])
    _, error = await fail(LocalProvider(context=64, slots=1))
    assert type(error) is ProviderUnavailable
    assert "llmstream[local]" in caplog.text


SCRIPT = """
import asyncio, os, signal, sys
from llmstream.providers import ChatMessage, ProviderRequest
from llmstream.providers.local import LocalProvider
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a shell's background
provider = LocalProvider(context=256, slots=1)
request = ProviderRequest("g", "", [ChatMessage("user", "Tell me a story.")], {{"ignore_eos": True}})
async def main():
    async for part in provider.stream(request):
        if isinstance(part, str):
            print(provider._engine._process.pid, flush=True)
            sys.stdin.readline()
            {during}
asyncio.run(main())
{after}
"""
FORK = """
child = os.fork()
if child == 0:
    sys.exit(4)
assert provider._engine.address
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    ("during", "after", "status"),
    [
        ("return", "", 0),
        ("sys.exit(3)", "", 3),
        ("await asyncio.sleep(60)", "", -signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGKILL)", "", -signal.SIGKILL),
        # A forked child ends like any other, and leaves its parent's engine alone.
        ("return", FORK, 4),
    ],
    ids=["end", "exit", "interrupt", "kill", "fork"],
)
def test_the_engine_ends_with_its_process_and_never_holds_it_up(during: str, after: str, status: int) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT.format(during=during, after=after)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        engine = psutil.Process(int(process.stdout.readline()))
        # It goes on when its engine is known: an engine that has ended already can no longer be found by its number.
        print(file=process.stdin, flush=True)
        if status == -signal.SIGINT:
            process.send_signal(signal.SIGINT)
        try:
            assert process.wait(PATIENCE) == status
        finally:
            process.kill()
        assert wait_gone(engine)


def wait_gone(process: psutil.Process) -> bool:
    """Wait until a process is gone, or is a zombie that nobody asks for."""
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        psutil.wait_procs([process], timeout=0.05)
    return False


async def test_waiting_for_a_slot_is_a_sign_of_life() -> None:
    provider = LocalProvider(context=128, slots=1)
    async with aclosing(provider.stream(request("", STORY, max_tokens=30, ignore_eos=True))) as first:
        while not isinstance(await anext(first), str):
            pass
        async with aclosing(provider.stream(request("", QUESTION, max_tokens=1))) as second:
            signs = [part async for part in second if not isinstance(part, Usage)]
    assert isinstance(signs[0], Keepalive | ResponseStarted)
    await provider.aclose()
    provider._engine._stop()
