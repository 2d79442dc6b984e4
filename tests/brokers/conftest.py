"""Brokers of several engines over one channel layer."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest
from django.test import override_settings

from llmstream.brokers import channels
from llmstream.brokers.base import Broker, Ephemeral, Head
from llmstream.brokers.channels import ChannelsBroker
from llmstream.log.rows import Batch
from tools.services.valkey import ValkeyServer

IN_MEMORY = {"BACKEND": "channels.layers.InMemoryChannelLayer"}


def pubsub(server: ValkeyServer) -> dict[str, Any]:
    """The entry of CHANNEL_LAYERS for a server."""
    return {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [server.url]}}


class Ear:
    """Notes what a broker hands over."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.heads: list[Head] = []
        self.heard: list[tuple[int, Ephemeral]] = []

    def receive(self, batches: list[Batch]) -> None:
        """Note batches."""
        self.batches += batches

    def announce(self, head: Head) -> None:
        """Note a head."""
        self.heads.append(head)

    def hear(self, conversation: int, message: Ephemeral) -> None:
        """Note an ephemeral message."""
        self.heard.append((conversation, message))

    def seqs(self, conversation: int) -> list[int]:
        """The positions that came of a conversation, in the order they came."""
        return [row.seq for batch in self.batches if batch.conversation == conversation for row in batch.rows]

    def reached(self, conversation: int) -> int:
        """The furthest position that is known of a conversation."""
        heads = [head.seq for head in self.heads if head.conversation == conversation]
        return max([*self.seqs(conversation), *heads], default=0)


Join: TypeAlias = Callable[[], tuple[Broker, Ear]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the brokers know each other sooner."""
    monkeypatch.setattr(channels, "_SETTLING", 0.1)
    # The layer itself logs a traceback a second while its server is away.
    logging.getLogger("channels_redis.pubsub").setLevel(logging.CRITICAL)


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A server to kill."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """Make brokers over the layer in force; they are closed with the test."""
    made: list[Broker] = []

    def make() -> tuple[Broker, Ear]:
        ear = Ear()
        made.append(ChannelsBroker(ear))
        return made[-1], ear

    yield make
    for broker in made:
        await broker.aclose()


@pytest.fixture(params=["memory", "valkey"])
def layer(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each channel layer that the broker promises to work over."""
    with ExitStack() as stack:
        if request.param == "memory":
            entry: dict[str, Any] = IN_MEMORY
        else:
            entry = pubsub(request.getfixturevalue("valkey_server"))
        stack.enter_context(override_settings(CHANNEL_LAYERS={"default": entry}))
        yield request.param


@pytest.fixture
def over_valkey(valkey: ValkeyServer) -> Iterator[ValkeyServer]:
    """The layer over a server of the test's own."""
    with override_settings(CHANNEL_LAYERS={"default": pubsub(valkey)}):
        yield valkey
