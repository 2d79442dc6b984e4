"""Fixtures that the whole suite shares: servers and the database."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from asgiref.sync import SyncToAsync
from django.db import connection, connections
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, Playwright, sync_playwright
from pytest_django import DjangoDbBlocker

from llmstream.contrib.eventstream import receivers
from llmstream.database import close_executor
from llmstream.engine import Engine
from llmstream.hub import Hub
from tools.services.browser import ARGUMENTS, chromium
from tools.services.postgres import PostgresServer
from tools.services.valkey import ValkeyServer

from .live.forking import run
from .live.servers import ROOT, Database
from .site_rows import SiteRows
from .support import PATIENCE, clean_engine, close_background_engine

#: What sites test themselves with; loaded by its entry point where llmstream is installed.
pytest_plugins = ["llmstream.testing.plugin"]


# How long an example takes, or the making of some, says nothing on a machine that has other things to do.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

#: What takes longest a file.
_SLOW = ("live", "chaos", "demo", "widget", "client")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m contract``, do not even import what holds no contract test."""
    if config.option.markexpr == "contract" and collection_path.name.startswith("test_"):
        return "pytest.mark.contract" not in collection_path.read_text() or None
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: at the end some of several processes of tests would have nothing left to do."""
    items.sort(key=lambda item: not {*_SLOW} & {*item.path.parts})


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
def demo_template(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The demo's database with its users, to copy."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('demo-template') / 'db.sqlite3'}", {})
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.demo.settings", "DATABASE_URL": database.url}
    for command in (["migrate", "--verbosity=0"], ["demo_users"]):
        run(["django", *command], environment, ROOT)
    return database


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
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The test database; what still holds connections to it is gone before it is dropped."""
    with django_db_blocker.unblock():
        rows = SiteRows()
    yield
    rows.close()
    close_executor()
    for thread in threading.enumerate():
        if thread.name.startswith("llmstream-writer"):
            thread.join(PATIENCE)
    # The thread of sync views that an async client asks, which closes nothing between its requests.
    SyncToAsync.single_thread_executor.submit(connections.close_all).result(PATIENCE)
    with django_db_blocker.unblock():
        wait_for_sessions()


def wait_for_sessions() -> None:
    """Return when nobody else is connected to a PostgreSQL database: a session outlives its connection for a moment."""
    if connection.vendor != "postgresql":
        return
    deadline = time.monotonic() + PATIENCE
    while others := other_sessions():
        assert time.monotonic() < deadline, f"connections that nobody closed: {others}"
        time.sleep(0.05)


def other_sessions() -> list[tuple[str, str]]:
    """Return state and last statement of the database's other sessions."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT state, query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return list(cursor.fetchall())


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


@pytest.fixture(autouse=True)
def silence() -> None:
    """Send no notifications but in the tests that are about them; apps that a test installs make theirs ready again."""
    receivers.disconnect()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """End an engine that a request without a loop of its own has started: it would sweep the next tests' rows."""
    close_background_engine()


@pytest.fixture
async def hub(transactional_db: None) -> AsyncIterator[Hub]:
    """A hub of the test's own, which hears only what the test tells it."""
    made = Hub()
    yield made
    await asyncio.gather(*made._tasks, return_exceptions=True)
    close_executor()


@pytest.fixture
async def running(transactional_db: None) -> AsyncIterator[Engine]:
    """The engine of the test's loop; what it began ends with the test."""
    async with clean_engine() as engine:
        yield engine
