"""The layer's server dies, restarts, forgets and freezes; nobody is held up, and news flows again."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from statistics import median
from time import monotonic

import pytest
from redis import Redis

from llmstream.brokers import outbox as outbox_module
from llmstream.brokers.base import Broker
from llmstream.brokers.channels import ChannelsBroker
from llmstream.brokers.outbox import Outbox
from tests.support import PATIENCE, until
from tools.services.valkey import ValkeyServer

from .conftest import Ear, Join
from .test_contract import acquainted, batch


async def talking(teller: Broker, ear: Ear, start: int, *, seconds: float = PATIENCE) -> int:
    """Publish until the ear hears something new; return the last position told."""
    known, seq = ear.reached(5), start
    async with asyncio.timeout(seconds):
        while ear.reached(5) <= known:
            seq += 1
            teller.publish([batch(5, seq)])
            await asyncio.sleep(0.02)
    return seq


async def pair(join: Join) -> tuple[Broker, Ear]:
    """A teller, and the ear of somebody who follows conversation 5."""
    (teller, _), (near, ear) = join(), join()
    near.follow(5)
    await acquainted(teller, (near, ear))
    return teller, ear


async def test_a_server_that_comes_late(over_valkey: ValkeyServer, join: Join) -> None:
    over_valkey.stop()
    (teller, _), (near, ear) = join(), join()
    near.follow(5)
    took = []
    for seq in range(1, 51):
        started = monotonic()
        teller.publish([batch(5, seq)])
        took.append(monotonic() - started)
    assert median(took) < 0.01, "publishing waits for the layer"
    await asyncio.sleep(0.2)
    await asyncio.to_thread(over_valkey.start)
    await talking(teller, ear, 50)


@pytest.mark.parametrize("how", ["kill", "flush", "pause"])
async def test_the_server_goes_and_comes_back(
    over_valkey: ValkeyServer, join: Join, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    teller, ear = await pair(join)
    seq = await talking(teller, ear, 0)
    with caplog.at_level(logging.WARNING, "llmstream"):
        for _ in range(2):
            noticed = len(outages(caplog))
            await asyncio.to_thread(disturb(over_valkey, how))
            for _ in range(30) if how == "flush" else itertools.count():
                seq += 1
                teller.publish([batch(5, seq)])
                await asyncio.sleep(0.02)
                if len(outages(caplog)) > noticed:
                    break
            await asyncio.to_thread(repair(over_valkey, how))
            seq = await talking(teller, ear, seq)
            await until(lambda: "is back" in caplog.text or how == "flush")
    # The other engine notices only when it has something to say.
    assert how == "flush" or 2 <= len(outages(caplog)) <= 4, "once per outage and engine"


def outages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of the layer's absence."""
    return [record.message for record in caplog.records if "is away" in record.message]


def disturb(server: ValkeyServer, how: str) -> Callable[[], None]:
    """What makes the layer useless."""
    return {"kill": server.kill, "flush": server.flush, "pause": server.pause}[how]


def repair(server: ValkeyServer, how: str) -> Callable[[], None]:
    """What makes it useful again."""
    return {"kill": server.start, "flush": server.flush, "pause": server.resume}[how]


async def test_what_nobody_follows_is_not_sent(over_valkey: ValkeyServer, join: Join) -> None:
    teller, _ = await pair(join)
    with Redis(port=over_valkey.port) as client:
        before = published(client)
        for seq in range(1, 101):
            teller.publish([batch(6, seq)])
            await asyncio.sleep(0)
        assert published(client) - before < 5


def published(client: Redis) -> int:
    """PUBLISH commands that the server has seen."""
    return int(client.info("commandstats")["cmdstat_publish"]["calls"])


async def test_news_that_cannot_be_sent_does_not_pile_up(
    over_valkey: ValkeyServer, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "OUTBOX_HINTS", 50)
    teller, _ = await pair(join)
    assert isinstance(teller, ChannelsBroker)
    teller._settled_at = None
    over_valkey.pause()
    for conversation in range(200):
        teller.publish([batch(conversation, 1)])
        teller.broadcast(conversation, {"type": "typing"})
    await asyncio.sleep(0)
    waiting = teller._outbox.take()
    assert len(waiting[0]) <= 50
    assert len(waiting[1]) <= outbox_module.OUTBOX_EPHEMERALS
    over_valkey.resume()


def test_hints_grow_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Outbox()
    box.add(batch(5, 1, 2))
    box.add(batch(5, 3))
    (hint,), _ = box.take()
    assert [row.seq for row in hint.rows] == [1, 2, 3]
    assert not box
    box.add(batch(5, 1))
    box.add(batch(5, 3))  # somebody else's 2 in between
    (hint,), _ = box.take()
    assert (hint.rows, hint.head) == ([], 3)
    monkeypatch.setattr(outbox_module, "OUTBOX_BYTES", 1_000)
    for conversation in range(20):
        box.add(batch(conversation, 1, data=b"x" * 100))
    hints, _ = box.take()
    assert [hint.head for hint in hints] == [1] * 20
    assert sum(hint.size for hint in hints) <= 1_000
    assert hints[-1].rows, "the newest are kept"
    box.put_back(hints)
    box.add(batch(19, 2))
    hints, _ = box.take()
    assert sorted(hint.conversation for hint in hints) == list(range(20))
