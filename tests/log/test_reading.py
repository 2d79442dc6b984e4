"""Pages: as much as asked for, and no more in memory than that."""

from __future__ import annotations

import tracemalloc

import pytest

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
    assert peak < 50_000_000
