"""The links do to connections what the schedules say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.live.proxy import Cut, serving

from .links import Link

PATIENCE = 20.0


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """A server that sends back what it gets; yields its port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    async with serving(echo) as port:
        yield port


@asynccontextmanager
async def dialled(link: Link) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection over a link."""
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    yield reader, writer
    writer.close()


async def test_fair_weather_lets_everything_through() -> None:
    async with echoing() as port, Link(port) as link, dialled(link) as (reader, writer):
        writer.write(b"x" * 100_000)
        async with asyncio.timeout(PATIENCE):
            assert await reader.readexactly(100_000) == b"x" * 100_000


@pytest.mark.parametrize(("deaf", "mute"), [(True, False), (False, True), (True, True)])
async def test_what_is_held_passes_when_the_link_is_well_again(deaf: bool, mute: bool) -> None:
    async with echoing() as port, Link(port) as link, dialled(link) as (reader, writer):
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        link.hold(deaf=deaf, mute=mute)
        writer.write(b"b")
        held = asyncio.ensure_future(reader.readexactly(1))
        done, _ = await asyncio.wait([held], timeout=0.2)
        assert not done
        assert link.open == 1
        link.clear()
        async with asyncio.timeout(PATIENCE):
            assert await held == b"b"


async def test_a_connection_broken_in_a_black_hole_is_broken() -> None:
    async with echoing() as port, Link(port) as link, dialled(link) as (reader, writer):
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        link.hold()
        writer.write(b"b")
        assert link.cut_all(rst=True) == 1
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ConnectionResetError):
                await reader.read()


@pytest.mark.parametrize("size", [0, 1, 700, 1_000])
async def test_raw_bytes_are_counted_whatever_is_spoken(size: int) -> None:
    async with echoing() as port, Link(port) as link:
        link.cut = lambda luck: Cut(raw=size)
        async with dialled(link) as (reader, writer):
            writer.write(b"y" * 1_000)
            async with asyncio.timeout(PATIENCE):
                assert await reader.read(-1) == b"y" * size


async def test_rate_and_latency_hold_back_and_lose_nothing() -> None:
    async with echoing() as port, Link(port, random.Random(1)) as link, dialled(link) as (reader, writer):
        link.rate, link.latency, link.jitter = 8_000.0, 0.02, 0.02
        loop = asyncio.get_running_loop()
        began = loop.time()
        writer.write(b"z" * 2_000)
        async with asyncio.timeout(PATIENCE):
            assert await reader.readexactly(2_000) == b"z" * 2_000
        assert loop.time() - began >= 0.04 + 1_500 / 8_000


async def test_the_same_luck_breaks_the_same_connections() -> None:
    async def broken(seed: int) -> list[int]:
        got = []
        async with echoing() as port, Link(port, random.Random(seed)) as link:
            link.cut = lambda luck: Cut(raw=luck.randint(1, 99))
            for _ in range(5):
                async with dialled(link) as (reader, writer):
                    writer.write(b"-" * 100)
                    got.append(len(await reader.read(-1)))
        return got

    async with asyncio.timeout(PATIENCE):
        assert await broken(3) == await broken(3) != await broken(4)
