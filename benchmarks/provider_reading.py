"""What reading an answer from an OpenAI-compatible service costs: ``python -m benchmarks.provider_reading``.

The same answers are read in several ways, by turns: with the openai package's stream objects, over its HTTP client and
over its aiohttp one; as bytes through its HTTP client; by ``OpenAIProvider``; and by a bare asyncio protocol, which is
what Python can do at best. The service is another process on another core and sends one token in one TCP segment. The
CPU time is this process's, from the first request to the last answer, requests included, divided by the tokens; the
figures of one row come from one process and one repetition each, and ratios are taken within a repetition.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from statistics import median

import openai
import orjson
import uvloop

from llmstream.providers import ChatMessage, ProviderRequest
from llmstream.providers.openai import OpenAIProvider

from .machine import Cores, spin_us

_CALL = {"messages": [{"role": "user", "content": "Say something."}], "stream_options": {"include_usage": True}}
_REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: upstream\r\ncontent-type: application/json\r\n"
    b"content-length: 2\r\n\r\n{}"
)

#: Reads one answer and returns its number of tokens.
Reader = Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Case:
    """A way to read: ``open`` takes the port and returns the reader and what closes it."""

    name: str
    open: Callable[[int], tuple[Reader, Callable[[], Awaitable[None]]]]


def _client(port: int, *, aiohttp: bool) -> openai.AsyncOpenAI:
    http_client = openai.DefaultAioHttpClient() if aiohttp else openai.DefaultAsyncHttpxClient()
    return openai.AsyncOpenAI(api_key="bench", base_url=f"http://127.0.0.1:{port}/v1", http_client=http_client)


def stream_objects(port: int, *, aiohttp: bool) -> tuple[Reader, Callable[[], Awaitable[None]]]:
    """The package as its documentation shows it."""
    client = _client(port, aiohttp=aiohttp)

    async def read() -> int:
        tokens = 0
        async for chunk in await client.chat.completions.create(model="bench", stream=True, **_CALL):  # type: ignore[call-overload]
            if chunk.choices and chunk.choices[0].delta.content:
                tokens += 1
        return tokens

    return read, client.close


def response_bytes(port: int) -> tuple[Reader, Callable[[], Awaitable[None]]]:
    """The package's response, its bytes decoded here."""
    client = _client(port, aiohttp=False)

    async def read() -> int:
        tokens = 0
        create = client.chat.completions.with_streaming_response.create
        async with create(model="bench", stream=True, **_CALL) as response:  # type: ignore[call-overload]
            async for data in response.iter_bytes():
                tokens += _count(data)
        return tokens

    return read, client.close


def provider(port: int) -> tuple[Reader, Callable[[], Awaitable[None]]]:
    """``OpenAIProvider``, all parts of the answer taken."""
    made = OpenAIProvider(base_url=f"http://127.0.0.1:{port}/v1", api_key="bench")
    request = ProviderRequest("bench", "bench", [ChatMessage("user", "Say something.")])

    async def read() -> int:
        text = ""
        async with aclosing(made.stream(request)) as parts:
            async for part in parts:
                if type(part) is str:
                    text += part
        # Tokens that were late came in one piece; each starts with this sign.
        return text.count("~")

    return read, made.aclose


def bare(port: int) -> tuple[Reader, Callable[[], Awaitable[None]]]:
    """An asyncio protocol that understands nothing but this service."""

    async def read() -> int:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(_Lines, "127.0.0.1", port)
        transport.write(_REQUEST)
        tokens = 0
        while not protocol.done:
            tokens += _count(await protocol.take())
        transport.abort()
        return tokens

    async def close() -> None:
        pass

    return read, close


class _Lines(asyncio.Protocol):
    """Hands over what has come."""

    def __init__(self) -> None:
        self._data = b""
        self._waiter: asyncio.Future[None] | None = None
        self.done = False

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> bytes:
        if not self._data:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data, self._data = self._data, b""
        self.done = b"[DONE]" in data
        return data


def _count(data: bytes) -> int:
    """Decode what is needed and count the tokens."""
    tokens = 0
    for line in data.split(b"\n"):
        if line.startswith(b"data: {"):
            choices = orjson.loads(line[6:])["choices"]
            if choices and choices[0]["delta"].get("content"):
                tokens += 1
    return tokens


CASES = (
    Case("openai objects", lambda port: stream_objects(port, aiohttp=False)),
    Case("openai objects, aiohttp", lambda port: stream_objects(port, aiohttp=True)),
    Case("openai response bytes", response_bytes),
    Case("OpenAIProvider", provider),
    Case("bare protocol", bare),
)


async def measure(case: Case, port: int, streams: int, tokens: int) -> float:
    """Return the CPU microseconds per token of reading ``streams`` answers at once."""
    read, close = case.open(port)

    async def late(index: int) -> None:
        await asyncio.sleep(index / streams)
        if (got := await read()) != tokens:
            raise SystemExit(f"{case.name} read {got} of {tokens} tokens.")

    started = time.process_time()
    await asyncio.gather(*(late(index) for index in range(streams)))
    used = time.process_time() - started
    await close()
    return used / (streams * tokens) * 1e6


@contextmanager
def upstream(tokens: int, rate: float, core: int) -> Iterator[int]:
    """Run the service on a core and yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.upstream", str(port), str(tokens), str(rate)]
    with subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, {core})) as process:
        try:
            _await_port(port)
            yield port
        finally:
            process.kill()


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--streams", type=int, default=100, help="answers at once (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=200, help="tokens of an answer (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="tokens a second (default: %(default)s)")
    parser.add_argument("--reps", type=int, default=3, help="repetitions, by turns (default: %(default)s)")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    given = parser.parse_args()
    run = uvloop.run if given.loop == "uvloop" else asyncio.run
    cores = Cores.choose()
    os.sched_setaffinity(0, {cores.server})
    figures: dict[str, list[float]] = {case.name: [] for case in CASES}
    with upstream(given.tokens, given.rate, cores.client) as port:
        run(measure(CASES[0], port, 2, given.tokens))
        for _ in range(given.reps):
            for case in CASES:
                figures[case.name].append(run(measure(case, port, given.streams, given.tokens)))
                print(f"{case.name}: {figures[case.name][-1]:.1f}", file=sys.stderr, flush=True)
    print(
        f"\n{given.streams} answers of {given.tokens} tokens at {given.rate:g}/s, {given.loop}, "
        f"{given.reps} repetitions;"
    )
    print(f"a fixed piece of Python takes {spin_us(cores.server):.0f} us here.\n")
    print("| way to read | CPU us/token (range) | ÷ openai objects |\n|---|---|---|")
    base = figures[CASES[0].name]
    for name, found in figures.items():
        ratio = median(one / other for one, other in zip(found, base, strict=True))
        print(f"| {name} | {median(found):.1f} ({min(found):.1f}–{max(found):.1f}) | {ratio:.2f} |")


if __name__ == "__main__":
    main()
