"""The fixtures of the pytest plugin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from django.db import connections

from ..log.rows import database_alias
from .engines import close_background_engine
from .playing import PlayedSite


@pytest.fixture
def llmstream_site(transactional_db: None) -> Iterator[PlayedSite]:
    """The site of a test, whose models say what the test says; needs pytest-django and a database of its own file."""
    connection = connections[database_alias()]
    if connection.vendor == "sqlite" and connection.is_in_memory_db():  # type: ignore[attr-defined]
        pytest.fail(
            "Threads share the test's database: give DATABASES['default']['TEST'] a NAME, the path of a file.",
            pytrace=False,
        )
    with ExitStack() as overrides:
        try:
            yield PlayedSite(overrides)
        finally:
            close_background_engine()
