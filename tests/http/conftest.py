"""Fixtures of the tests in this directory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from llmstream.engine import Engine
from tests.support import clean_engine


@pytest.fixture
async def running(transactional_db: None) -> AsyncIterator[Engine]:
    """The engine of the test's loop; what it began ends with the test."""
    async with clean_engine() as engine:
        yield engine
