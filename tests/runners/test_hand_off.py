"""Handing prompts off: never in the way, repeated with patience."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from django.test import override_settings

from llmstream.brokers.layer import channel_layer
from llmstream.runners import tasks
from llmstream.runners.tasks import TaskRunner
from llmstream.runners.worker import CHANNEL, WorkerRunner
from tests.brokers.conftest import pubsub
from tests.support import PATIENCE, changed, until
from tools.services.valkey import ValkeyServer


class Clock:
    """A loop whose time the test sets."""

    now = 1_000.0

    def time(self) -> float:
        """The time."""
        return self.now


class Host:
    """What a runner needs of an engine."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.spawned: list[asyncio.Task[None]] = []

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task."""
        self.spawned.append(asyncio.get_running_loop().create_task(coroutine))
        return self.spawned[-1]


async def test_a_prompt_that_waits_long_is_enqueued_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueued: list[int] = []
    monkeypatch.setattr(tasks, "_enqueue", enqueued.append)
    clock = Clock()
    with changed(LEASE=10.0):
        runner = TaskRunner(Host(clock))
        runner.hand_off(5)
        await until(lambda: enqueued == [5])
        at = []
        for _ in range(3_600):
            clock.now += 1.0
            known = len(runner.host.spawned)  # type: ignore[attr-defined]
            runner.hand_off(5, again=True)
            if len(runner.host.spawned) > known:  # type: ignore[attr-defined]
                at.append(clock.now - 1_000.0)
        assert at[:4] == [10.0, 30.0, 70.0, 150.0]
        assert len(at) < 12
        known = len(enqueued)
        runner.hand_off(5)
        await until(lambda: len(enqueued) == len(at) + 2)


async def test_a_prompt_of_another_process_is_given_time_first(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(Clock())
    runner = TaskRunner(host)
    runner.hand_off(5, again=True)
    assert host.spawned == []


async def test_a_backend_that_fails_is_no_failure_of_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(conversation: int) -> None:
        raise RuntimeError

    monkeypatch.setattr(tasks, "_enqueue", fail)
    host = Host(asyncio.get_running_loop())
    TaskRunner(host).hand_off(5)
    await asyncio.gather(*host.spawned)


async def test_hand_offs_go_on_when_the_layer_is_back() -> None:
    with ValkeyServer() as valkey, override_settings(CHANNEL_LAYERS={"default": pubsub(valkey)}):
        host = Host(asyncio.get_running_loop())
        runner = WorkerRunner(host)
        await heard(runner, 1)
        valkey.kill()
        for conversation in range(100):
            runner.hand_off(conversation)
        assert len(host.spawned) < 100, "all in one"
        await asyncio.sleep(0.2)
        await asyncio.to_thread(valkey.start)
        await heard(runner, 777)
        await asyncio.gather(*host.spawned)


async def heard(runner: WorkerRunner, conversation: int) -> None:
    """Hand off again until a worker hears of it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            listening = asyncio.create_task(channel_layer().receive(CHANNEL))
            while not listening.done():
                runner.hand_off(conversation, again=True)
                await asyncio.sleep(0.05)
            if conversation in listening.result()["conversations"]:
                return
