"""What a broker promises its engine, over every channel layer."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from llmstream.brokers import channels
from llmstream.brokers.base import Broker, Head
from llmstream.brokers.channels import ChannelsBroker
from llmstream.brokers.outbox import HINT_BYTES
from llmstream.events import MESSAGE_END, TEXT_DELTA
from llmstream.log.rows import Batch, Row
from tests.support import PATIENCE, until

from .conftest import Ear, Join

_NUMBERS = itertools.count(1_000_000)
pytestmark = pytest.mark.usefixtures("layer")


def batch(conversation: int, *seqs: int, data: bytes = b'{"delta":"\xc3\xa4"}', kind: str = TEXT_DELTA) -> Batch:
    """Rows at these positions."""
    return Batch(conversation, 1, [Row(seq, kind, 7, data) for seq in seqs])


async def acquainted(teller: Broker, *others: tuple[Broker, Ear]) -> None:
    """Return when what the others follow is known to the teller."""
    assert isinstance(teller, ChannelsBroker)
    for broker, ear in others:
        number = next(_NUMBERS)
        broker.follow(number)
        async with asyncio.timeout(PATIENCE):
            while (number, {"type": "ping"}) not in ear.heard:
                teller.broadcast(number, {"type": "ping"})
                await asyncio.sleep(0.01)
        # It may have been heard because the teller, not settled yet, told everybody.
        await until(partial(teller._peers.of, number))
    await until(lambda: teller._settled)


async def test_what_one_commits_reaches_those_who_follow(join: Join) -> None:
    (teller, own), (near, near_ear), (far, far_ear) = join(), join(), join()
    teller.follow(5)
    near.follow(5)
    far.follow(5)
    await acquainted(teller, (near, near_ear), (far, far_ear))
    sent = batch(5, 1, 2)
    teller.publish([sent])
    await until(lambda: near_ear.batches and far_ear.batches)
    assert near_ear.batches == far_ear.batches == [sent]
    assert own.batches == [], "one's own news comes back"


async def test_those_who_follow_something_else_hear_nothing(join: Join) -> None:
    (teller, _), (near, near_ear), (far, far_ear) = join(), join(), join()
    near.follow(5)
    far.follow(6)
    await acquainted(teller, (near, near_ear), (far, far_ear))
    teller.publish([batch(5, 1), batch(6, 1)])
    await until(lambda: near_ear.batches and far_ear.batches)
    assert (near_ear.seqs(6), far_ear.seqs(5)) == ([], [])
    far.follow(5)
    far.unfollow(6)
    await acquainted(teller, (far, far_ear), (near, near_ear))
    teller.publish([batch(6, 2)])
    teller.publish([batch(5, 2)])
    await until(lambda: far_ear.seqs(5))
    assert far_ear.seqs(6) == [1]


async def test_news_from_before_the_others_were_known_is_not_lost(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    near, ear = join()
    near.follow(5)
    await acquainted(join()[0], (near, ear))
    monkeypatch.setattr(channels, "_SETTLING", 600.0)
    teller, _ = join()
    teller.publish([batch(5, 1)])
    await until(lambda: ear.seqs(5) == [1])


async def test_what_is_too_large_is_announced(join: Join) -> None:
    (teller, _), (near, ear) = join(), join()
    near.follow(5)
    await acquainted(teller, (near, ear))
    large = b'"' + b"x" * HINT_BYTES + b'"'
    teller.publish([Batch(5, 2, [Row(1, TEXT_DELTA, 7, large), Row(2, MESSAGE_END, 7, b"{}")])])
    await until(lambda: ear.heads)
    assert ear.heads == [Head(5, 2, 2, [7])]
    assert ear.batches == []


async def test_a_burst_arrives_in_order_and_once(join: Join) -> None:
    (teller, _), (near, ear) = join(), join()
    for conversation in range(20):
        near.follow(conversation)
    await acquainted(teller, (near, ear))
    for seq in range(1, 101):
        teller.publish([batch(conversation, seq) for conversation in range(20)])
        if seq % 10 == 0:
            await asyncio.sleep(0)
    await until(lambda: all(ear.reached(conversation) == 100 for conversation in range(20)))
    for conversation in range(20):
        assert ear.seqs(conversation) == list(range(1, 101))


async def test_an_ephemeral_message_reaches_those_who_follow(join: Join) -> None:
    (teller, own), (near, ear) = join(), join()
    near.follow(5)
    await acquainted(teller, (near, ear))
    message = {"type": "typing", "user": {"id": "1", "name": "Änn"}}
    teller.broadcast(5, message)
    await until(lambda: (5, message) in ear.heard)
    assert own.heard == []


async def test_a_closed_broker_is_forgotten_and_does_no_harm(join: Join) -> None:
    (teller, _), (near, ear) = join(), join()
    near.follow(5)
    await acquainted(teller, (near, ear))
    await near.aclose()
    near.publish([batch(5, 1)])
    near.broadcast(5, {"type": "typing"})
    near.follow(6)
    near.unfollow(5)
    assert isinstance(teller, ChannelsBroker)
    await until(lambda: not teller._peers.of(5))
    teller.publish([batch(5, 1)])
    assert ear.batches == []


def test_a_missing_layer_is_named() -> None:
    with override_settings(CHANNEL_LAYERS={}), pytest.raises(ImproperlyConfigured, match="CHANNEL_LAYERS has no"):
        ChannelsBroker(Ear())
