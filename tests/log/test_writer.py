"""The writer: groups of commits in order, whatever the database does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from django.db import IntegrityError, OperationalError

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.log import writer
from llmstream.log.group import Write, commit
from tests.support import Upstream, asked, check_log, ended, model, site, text_of, within

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


async def test_a_database_that_is_away_while_a_poisonous_write_is_sought_fails_nobody(
    running: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def flaky(writes: Sequence[Write]) -> object:
        nonlocal tries
        tries += 1
        if len(writes) > 1:
            raise IntegrityError
        if tries == 2:
            raise OperationalError
        return commit(writes)

    first, second = Upstream(), Upstream()
    with site(models={"default": model(first), "second": model(second)}):
        sents = [await asked(running), await asked(running, model="second")]
        await within(first.called.wait())
        await within(second.called.wait())
        monkeypatch.setattr(writer, "commit", flaky)
        for upstream in (first, second):
            upstream.say("text")
            upstream.finish()
        assert [(await ended(sent.generation)).status for sent in sents] == ["completed"] * 2


async def test_an_engine_is_closed_when_its_last_write_is_through(
    running: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And writes nothing after that, though the answer had gone on."""
    writing, let = asyncio.Event(), threading.Event()
    written = 0

    def slow(writes: Sequence[Write]) -> object:
        nonlocal written
        written += 1
        running.loop.call_soon_threadsafe(writing.set)
        let.wait()
        return commit(writes)

    upstream = Upstream()
    with site(models={"default": model(upstream)}):
        sent = await asked(running)
        await within(upstream.called.wait())
        monkeypatch.setattr(writer, "commit", slow)
        upstream.say("one")
        await within(writing.wait())
        upstream.say("two")
        closing = asyncio.create_task(running.aclose())
        await asyncio.wait({closing}, timeout=0.1)
        assert not closing.done()
        let.set()
        await within(closing)
        assert (written, text_of(await run_db(check_log, sent.conversation))) == (1, "one")
