"""Fixtures of the live tests: prepared databases and server processes."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest

from tools.services.postgres import PostgresServer

from .api import Api
from .servers import HANDOFF, PLAIN, Database, LiveServer, copy_postgres, copy_sqlite, prepare

#: The servers for which the claims about streams are made.
WIRINGS = {"uvicorn": ("uvicorn", HANDOFF), "uvicorn-plain": ("uvicorn", PLAIN), "daphne": ("daphne", HANDOFF)}
#: A server that died is given up within seconds instead of the default ten. Not sooner: idle servers sweep, too.
QUICK = {"LEASE": 3.0, "SWEEP_INTERVAL": 1.0, "POLL_INTERVAL": 0.3}
#: For several servers that nobody kills: one that is paused for a second is not given up by the others.
CALM = {**QUICK, "LEASE": 10.0}
_LOGGED: pytest.StashKey[dict[LiveServer, int]] = pytest.StashKey()


class Rig:
    """Makes databases and servers, and ends what it started."""

    #: Every server of the run, for the reports.
    servers: ClassVar[list[LiveServer]] = []

    def __init__(self, directory: Path, request: pytest.FixtureRequest) -> None:
        self._directory = directory
        self._request = request
        self._numbers = itertools.count(1)
        self._mine: list[LiveServer] = []
        self._shared: dict[tuple[str, str], LiveServer] = {}

    def database(self, kind: str = "sqlite") -> Database:
        """A new prepared database: ``sqlite`` or ``postgres``."""
        name = f"{self._directory.name}_{next(self._numbers)}".replace("-", "_").lower()
        if kind == "sqlite":
            return copy_sqlite(self._request.getfixturevalue("sqlite_template"), self._directory / f"{name}.sqlite3")
        server: PostgresServer = self._request.getfixturevalue("postgres_server")
        return copy_postgres(server, self._request.getfixturevalue("postgres_template"), f"live_{name}")

    def launch(self, kind: str = "uvicorn", database: Database | None = None, **options: Any) -> LiveServer:
        """Start a server without waiting; ``kind`` is a wiring or a server program."""
        program, app = WIRINGS.get(kind, (kind, HANDOFF))
        log = self._directory / f"{kind}-{next(self._numbers)}.log"
        server = LiveServer(program, database or self.database(), log, **{"app": app, **options})
        self._mine.append(server)
        self.servers.append(server)
        return server.start()

    def server(self, kind: str = "uvicorn", database: Database | None = None, **options: Any) -> LiveServer:
        """Start a server and wait for its port."""
        return self.launch(kind, database, **options).wait_ready()

    def shared(self, kind: str, database: str = "sqlite") -> LiveServer:
        """The server of this kind, with quick recovery; started by the first who asks for it."""
        if (kind, database) not in self._shared:
            self._shared[kind, database] = self.server(kind, self.database(database), llmstream=QUICK)
        return self._shared[kind, database]

    def close(self) -> None:
        """Kill every server that still runs."""
        for server in self._mine:
            server.kill()
            self.servers.remove(server)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A prepared SQLite database to copy."""
    return prepare(f"sqlite:///{tmp_path_factory.mktemp('template') / 'template.sqlite3'}")


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> Database:
    """A prepared PostgreSQL database to copy."""
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE live_template")
    return prepare(postgres_server.dsn("live_template"))


@pytest.fixture
def rig(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Servers of one test."""
    rig = Rig(tmp_path_factory.mktemp("rig"), request)
    yield rig
    rig.close()


@pytest.fixture(scope="package")
def shared_rig(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Servers of all live tests; idle ones would cost the tests after them time."""
    rig = Rig(tmp_path_factory.mktemp("shared"), request)
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def module_rig(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Servers of one file's tests."""
    rig = Rig(tmp_path_factory.mktemp("module"), request)
    yield rig
    rig.close()


@pytest.fixture(scope="package", params=WIRINGS)
def server(shared_rig: Rig, request: pytest.FixtureRequest) -> LiveServer:
    """Each server that the claims are made for, one after the other, with quick recovery."""
    return shared_rig.shared(request.param)


@pytest.fixture(scope="package")
def uvicorn(shared_rig: Rig) -> LiveServer:
    """The recommended server, for claims that do not depend on it."""
    return shared_rig.shared("uvicorn")


@pytest.fixture
def alice(server: LiveServer) -> Api:
    """A user at each server."""
    return Api(server.url, server.database.accounts["alice"])


@pytest.fixture
def bob(server: LiveServer) -> Api:
    """Another user at each server."""
    return Api(server.url, server.database.accounts["bob"])


@pytest.fixture(scope="package", params=["sqlite", "postgres"])
def store(shared_rig: Rig, request: pytest.FixtureRequest) -> LiveServer:
    """The recommended server on each database, since databases differ in what they refuse."""
    return shared_rig.shared("uvicorn", request.param)


@pytest.fixture
def carol(store: LiveServer) -> Api:
    """A user on each database."""
    return Api(store.url, store.database.accounts["alice"])


@pytest.fixture
def dave(store: LiveServer) -> Api:
    """Another user on each database."""
    return Api(store.url, store.database.accounts["bob"])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note how much every server has logged before the test."""
    item.stash[_LOGGED] = {server: server.logged for server in Rig.servers}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the servers have logged during the test."""
    report = yield
    if report.failed:
        before = item.stash.get(_LOGGED, {})
        for server in Rig.servers:
            if text := server.output(before.get(server, 0)):
                report.sections.append((f"log of {server.log.stem}", text[-6_000:]))
    return report
