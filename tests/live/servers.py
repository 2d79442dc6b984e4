"""Real server processes of a site, each on a loopback port of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from tools.services.ports import free_port
from tools.services.postgres import PostgresServer

from .forking import Forked, run

ROOT: Final = Path(__file__).resolve().parent.parent.parent
START_TIMEOUT: Final = 80.0
STOP_TIMEOUT: Final = 15.0
USERS: Final = ("alice", "bob")
_UVICORN: Final = (
    *("uvicorn", "{asgi}", "--host", "127.0.0.1", "--port", "{port}", "--loop", "uvloop", "--http", "httptools"),
    *("--lifespan", "off", "--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "2"),
)

#: Server programs by name, as module and arguments; ``{app}`` and ``{port}`` are filled in.
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "uvicorn": _UVICORN,
    "uvicorn-websockets": (*_UVICORN, "--ws", "websockets"),
    "uvicorn-wsproto": (*_UVICORN, "--ws", "wsproto"),
    "daphne": ("daphne", "-b", "127.0.0.1", "-p", "{port}", "--verbosity", "0", "{asgi}"),
    "wsgiref": ("django", "runserver", "--noreload", "--nothreading", "127.0.0.1:{port}"),
    "wsgiref-threads": ("django", "runserver", "--noreload", "127.0.0.1:{port}"),
    "worker": ("django", "runworker", "llmstream-generations"),
    "task-worker": ("django", "db_worker", "--interval", "0.05"),
}
#: Programs that listen on no port: they are there as soon as they take something up.
WORKERS: Final = ("worker", "task-worker")
HANDOFF: Final = "tests.live.sites.asgi:application"
PLAIN: Final = "tests.live.sites.asgi_plain:application"


@dataclass(frozen=True, slots=True)
class Account:
    """A user who is signed in."""

    name: str
    sessionid: str
    csrftoken: str

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of a browser that has signed in."""
        return {"sessionid": self.sessionid, "csrftoken": self.csrftoken}

    @property
    def headers(self) -> dict[str, str]:
        """What a page's script adds to a POST."""
        return {"X-CSRFToken": self.csrftoken}


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database with signed-in users."""

    url: str
    accounts: Mapping[str, Account]

    def execute(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own, past Django; placeholders are ``?``."""
        if self.url.startswith("sqlite"):
            file = self.url.removeprefix("sqlite:///")
            with contextlib.closing(sqlite3.connect(file, timeout=20, isolation_level=None)) as lite:
                return lite.execute(sql, params).fetchall()
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.replace("?", "%s").encode(), params)
            return cursor.fetchall() if cursor.description else []


def prepare(url: str, users: tuple[str, ...] = USERS, *, settings: str = "tests.live.sites.base") -> Database:
    """Migrate the empty database at ``url`` and sign the users in."""
    printed = run(["tests.live.sites.prepare", *users], environment(url, settings), ROOT)
    accounts = json.loads(printed.splitlines()[-1])
    return Database(url, {name: Account(name, **cookies) for name, cookies in accounts.items()})


def copy_sqlite(template: Database, file: Path) -> Database:
    """Copy a prepared SQLite database that nobody uses."""
    source = Path(template.url.removeprefix("sqlite:///"))
    with contextlib.closing(sqlite3.connect(source)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(source, file)
    return Database(f"sqlite:///{file}", template.accounts)


def copy_postgres(server: PostgresServer, template: Database, name: str) -> Database:
    """Copy a prepared PostgreSQL database that nobody uses."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template.url.rpartition("/")[2]}"'.encode())
    return Database(server.dsn(name), template.accounts)


def environment(url: str, settings: str = "tests.live.sites.base", **extra: str) -> dict[str, str]:
    """What a process of a site finds in its environment."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("LLMSTREAM", "OPENAI"))}
    return {**inherited, "DJANGO_SETTINGS_MODULE": settings, "LLMSTREAM_TEST_DB": url, **extra}


@dataclass(eq=False)
class LiveServer:
    """One server process; ``start`` launches it and ``wait_ready`` returns once its port is open.

    ``llmstream`` goes over the site's ``LLMSTREAM`` settings. A killed server can be started again on its port. The
    process never outlives the tests.
    """

    kind: str
    database: Database
    log: Path
    settings: str = "tests.live.sites.base"
    app: str = HANDOFF
    llmstream: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: Forked | None = None

    @property
    def url(self) -> str:
        """Base URL without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process's id; only while it runs."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> LiveServer:
        """Launch the process and return at once."""
        command = [part.format(asgi=self.app, port=self.port) for part in KINDS[self.kind]]
        given = environment(self.database.url, self.settings, LLMSTREAM_LIVE=json.dumps(self.llmstream))
        self.process = Forked(command, {**given, **self.env}, ROOT, self.log)
        return self

    def wait_ready(self) -> LiveServer:
        """Return once the port is open; raises with the log when the process ends or takes too long."""
        if self.kind in WORKERS:
            return self
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self.process is not None and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"{self.kind} did not start:\n{self.output()}")

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self._end(signal.SIGKILL)

    def terminate(self, timeout: float = STOP_TIMEOUT) -> float:
        """SIGTERM; return the seconds until the process was gone, raise AssertionError when it stays."""
        started = time.monotonic()
        stayed = self._end(signal.SIGTERM, timeout)
        assert not stayed, f"{self.kind} outlived SIGTERM by {timeout} s:\n{self.output()}"
        return time.monotonic() - started

    def _end(self, how: signal.Signals, timeout: float = STOP_TIMEOUT) -> bool:
        process, self.process = self.process, None
        if process is None:
            return False
        process.send_signal(how)
        if stayed := process.wait(timeout) is None:
            process.send_signal(signal.SIGKILL)
            process.wait(STOP_TIMEOUT)
        return stayed

    def output(self, start: int = 0) -> str:
        """What the process has logged from byte ``start`` on."""
        return self.log.read_bytes()[start:].decode(errors="replace") if self.log.exists() else ""

    @property
    def logged(self) -> int:
        """Bytes logged so far."""
        return self.log.stat().st_size if self.log.exists() else 0
