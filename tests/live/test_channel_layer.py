"""Two server processes with a channel layer between them, which carries the news and may fail at any time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic

import pytest

from tools.services.valkey import ValkeyServer

from .api import Api
from .clients import connect, ends, follow, read_aiohttp, read_httpx
from .conftest import CALM, Rig
from .history import History, check
from .servers import Database
from .sites.provider import script

BROKER = {"BROKER": "llmstream.brokers.channels.ChannelsBroker"}
#: Nobody ever polls: what arrives in the other process came as a hint.
NO_POLLING = {"POLL_INTERVAL": 300.0, "SWEEP_INTERVAL": 300.0, "LEASE": 900.0}


@dataclass(frozen=True, slots=True)
class Pair:
    """One user at two servers, and the server of the layer between them."""

    here: Api
    there: Api
    database: Database
    valkey: ValkeyServer


def pair(rig: Rig, valkey: ValkeyServer, **settings: float) -> Pair:
    """Start two servers over the layer."""
    database = rig.database()
    servers = [
        rig.launch(
            "uvicorn",
            database,
            settings="tests.live.sites.cluster",
            llmstream={**BROKER, **settings},
            env={"REDIS_URL": valkey.url},
        )
        for _ in range(2)
    ]
    here, there = (Api(server.wait_ready().url, database.accounts["alice"]) for server in servers)
    return Pair(here, there, database, valkey)


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[ValkeyServer]:
    """A server to kill."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="module")
def polling(module_rig: Rig, own_valkey: ValkeyServer) -> Pair:
    """Servers that poll, too."""
    return pair(module_rig, own_valkey, **CALM)


async def test_news_comes_without_polling(rig: Rig, valkey_server: ValkeyServer) -> None:
    servers = pair(rig, valkey_server, **NO_POLLING)
    sent = await servers.here.send(script(2_000, 0.02))
    call = servers.there.call(f"generations/{sent.generation}/events/")
    history = History()
    seen = itertools.count(1)
    # What was there already comes as one event; each further one is news.
    await connect(read_aiohttp, call, history, until=lambda event: event.type == "text-delta" and next(seen) == 20)
    reading = asyncio.create_task(follow(read_aiohttp, call, history=history))
    await servers.here.stop(sent.generation)
    await reading
    stored = await servers.there.stored(sent.conversation, sent.message)
    check(history, sent.generation, stored, status="stopped")


async def test_a_stop_comes_without_polling(rig: Rig, valkey_server: ValkeyServer) -> None:
    """Its own process learns of it by a hint alone, and gives the next prompt its turn."""
    servers = pair(rig, valkey_server, **NO_POLLING)
    sent = await servers.here.send(script(2_000, 0.02))
    after = await servers.here.send(script(3, 0.01), to=sent.conversation, busy="queue")
    await servers.here.shown(sent, chars=20)
    assert (await servers.there.stop(sent.generation))["status"] == "stopped"
    state = await servers.here.settled(sent.conversation)
    assert [generation["status"] for generation in state["generations"]] == ["stopped", "completed"]
    assert state["generations"][1]["id"] == after.generation


@pytest.mark.parametrize("how", ["kill", "restart", "flush", "pause"])
async def test_nothing_is_lost_or_doubled_while_the_layer_fails(polling: Pair, how: str) -> None:
    """Readers at both servers, while the layer goes and comes back in the middle."""
    sents = [await api.send(script(120, 0.03)) for api in (polling.here, polling.there) * 3]
    started = monotonic()
    reading = [
        asyncio.create_task(
            follow(
                reader,
                api.call(f"conversations/{sent.conversation}/events/"),
                last_event_id=sent.last_event_id,
                until=ends(sent.generation),
            )
        )
        for sent in sents
        for reader, api in ((read_aiohttp, polling.here), (read_httpx, polling.there))
    ]
    await asyncio.sleep(0.5)
    for act in _acts(polling.valkey, how):
        await asyncio.to_thread(act)
        await asyncio.sleep(0.8)
    histories = await asyncio.gather(*reading)
    for number, sent in enumerate(sents):
        stored = await polling.here.stored(sent.conversation, sent.message)
        for history in histories[2 * number : 2 * number + 2]:
            check(history, sent.generation, stored)
            assert len(history.connections) == 1, "no stream was cut"
    print(f"{how}: six answers in {monotonic() - started:.1f} s")


def _acts(valkey: ValkeyServer, how: str) -> list[Callable[[], None]]:
    return {
        "kill": [valkey.kill, valkey.start],
        "restart": [valkey.restart, valkey.restart],
        "flush": [valkey.flush, valkey.flush],
        "pause": [valkey.pause, valkey.resume],
    }[how]
