"""SIGTERM: what runs here is handed over before the server's own handler hears of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from llmstream.database import run_db
from llmstream.models import Generation
from tests.support import PATIENCE, Upstream, asked, clean_engine, site, until, within

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """The signals that a server's handler has heard."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: heard.append(signum))
    yield heard
    signal.signal(signal.SIGTERM, before)


async def test_the_server_hears_of_the_end_when_all_is_handed_over(
    transactional_db: None, heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmstream.shutdown._HELD_UP", PATIENCE)
    upstream = Upstream()
    server = signal.getsignal(signal.SIGTERM)
    with site(upstream, LEASE=600.0):
        async with clean_engine() as engine:
            sent = await asked(engine)
            await within(upstream.called.wait())
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: heard)
            assert (await run_db(Generation.objects.get, pk=sent.generation.pk)).status == "queued"
            assert not engine.turns.reserve()
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: len(heard) == 2)
    assert signal.getsignal(signal.SIGTERM) is server


async def test_a_database_that_is_away_does_not_keep_the_server_from_ending(
    transactional_db: None, heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr("llmstream.engine.hand_over", away)
    upstream = Upstream()
    with site(upstream):
        async with clean_engine() as engine:
            await asked(engine)
            await within(upstream.called.wait())
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: heard)


async def test_a_process_without_a_handler_is_left_alone(transactional_db: None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with clean_engine() as engine:
        with site():
            await asked(engine)
            assert signal.getsignal(signal.SIGTERM) is before
