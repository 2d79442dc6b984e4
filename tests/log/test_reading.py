"""Pages: as much as asked for, and no more in memory than that."""

from __future__ import annotations

import tracemalloc

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from llmstream.log.reading import read_page
from llmstream.log.transaction import locked
from tests.support import conversation

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def test_a_page_of_large_events_reads_about_a_page() -> None:
    owner = conversation()
    for _ in range(10):
        with locked(owner.pk) as log:
            for _ in range(60):
                log.append({"type": "message-created", "text": "x" * 100_000})
    tracemalloc.start()
    page = read_page(owner.pk, 0, max_bytes=262_144)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(page.rows), page.seq, page.more) == (2, 2, True)
    assert peak < 5_000_000


def test_a_page_of_small_events_takes_few_reads() -> None:
    owner = conversation()
    with locked(owner.pk) as log:
        for number in range(1_000):
            log.append({"type": "message-created", "number": number})
    with CaptureQueriesContext(connection) as asked:
        page = read_page(owner.pk, 0, max_bytes=20_000)
    assert page.more
    assert sum(len(row.data) for row in page.rows) > 19_000
    assert len(asked) <= 4
    whole = read_page(owner.pk, 0, max_bytes=1_000_000)
    assert ([row.seq for row in whole.rows], whole.more) == (list(range(1, 1_001)), False)
