"""Fixtures that the whole suite shares: servers and the database."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from django.db import connections
from playwright.sync_api import Browser, Playwright, sync_playwright

from llmstream.database import close_executor
from llmstream.engine import Engine
from tools.services.browser import ARGUMENTS, chromium
from tools.services.postgres import PostgresServer
from tools.services.valkey import ValkeyServer

from .support import PATIENCE, clean_engine


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that lives as long as the run."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """A Valkey server that lives as long as the run; a test that stops or pauses one starts its own."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    request: pytest.FixtureRequest, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """With LLMSTREAM_TEST_DB=postgres, point the default database at this run's own server before it is created."""
    database = connections.settings["default"]
    if database["ENGINE"] == "django.db.backends.postgresql" and not database["PORT"]:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        database["PORT"] = server.port


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """The test database; what still holds connections to it is gone before it is dropped."""
    yield
    close_executor()
    for thread in threading.enumerate():
        if thread.name.startswith("llmstream-writer"):
            thread.join(PATIENCE)


# Not longer than a module: while Playwright runs no test of another module can have an event loop.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """The machine's Chromium."""
    browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture
async def running(transactional_db: None) -> AsyncIterator[Engine]:
    """The engine of the test's loop; what it began ends with the test."""
    async with clean_engine() as engine:
        yield engine
