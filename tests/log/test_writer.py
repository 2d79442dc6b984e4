"""The writer: groups of commits in order, whatever the database does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from django.db import IntegrityError, OperationalError

from llmstream.engine import Engine
from llmstream.log import writer
from llmstream.log.group import Write, commit
from tests.support import Upstream, asked, ended, model, site, within

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
