"""Databases of the benchmarks: each prepared once and copied for every run, so that all runs start alike."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import psycopg

from tools.services.postgres import PostgresServer

from .machine import tree_cpu_seconds
from .server import ROOT

#: The environment variable that names a server's database: ``sqlite:PATH`` or a PostgreSQL URL.
VARIABLE = "BENCH_DATABASE"
_PREPARE_TIMEOUT = 120.0
#: A server whose commits survive a power cut.
POSTGRES_SETTINGS: dict[str, str | int] = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
    # The view that saves each token holds a connection for every open stream.
    "max_connections": 250,
}


def django_databases(pool: int = 0) -> dict[str, dict[str, Any]]:
    """Django's DATABASES for the database that the environment names; ``pool`` is the most PostgreSQL connections."""
    url = os.environ.get(VARIABLE, "sqlite::memory:")
    if url.startswith("sqlite:"):
        options = {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        }
        return {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": url.partition(":")[2], "OPTIONS": options}}
    parts = urlsplit(url)
    return {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path[1:],
            "USER": parts.username,
            "HOST": parts.hostname,
            "PORT": parts.port,
            "OPTIONS": {"prepare_threshold": 5, **({"pool": {"min_size": 1, "max_size": pool}} if pool else {})},
        }
    }


class Database(Protocol):
    """An engine on which prepared databases are copied."""

    def prepare(self, name: str, module: str, arguments: Sequence[str] = ()) -> str:
        """Make the database ``name`` by running a module on it; return what the module printed."""

    def copy(self, name: str) -> str:
        """Return a fresh copy's VARIABLE value; the copy before it is gone."""

    def number(self, sql: str) -> int:
        """Return the number that a query on the newest copy yields."""

    def cpu_seconds(self) -> float:
        """CPU time of the engine's own processes so far."""


def _run(module: str, url: str, arguments: Sequence[str]) -> str:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, VARIABLE: url},
        capture_output=True,
        text=True,
        check=False,
        timeout=_PREPARE_TIMEOUT,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.stdout


class Sqlite:
    """Files in WAL mode; the server's own process does the work."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._copy = home / "run.sqlite3"

    def prepare(self, name: str, module: str, arguments: Sequence[str] = ()) -> str:
        """Make a file, everything checkpointed into it."""
        path = self._home / f"{name}.sqlite3"
        output = _run(module, f"sqlite:{path}", arguments)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return output

    def copy(self, name: str) -> str:
        """Copy a prepared file."""
        for file in self._home.glob(f"{self._copy.name}*"):
            file.unlink()
        shutil.copyfile(self._home / f"{name}.sqlite3", self._copy)
        return f"sqlite:{self._copy}"

    def number(self, sql: str) -> int:
        """Ask the copy."""
        with closing(sqlite3.connect(self._copy)) as connection:
            return int(connection.execute(sql).fetchone()[0] or 0)

    def cpu_seconds(self) -> float:
        """None of its own."""
        return 0.0


class Postgres:
    """A server of the benchmarks' own on the client's core, as durable as PostgreSQL's defaults."""

    def __init__(self, core: int) -> None:
        self._server = PostgresServer(settings=POSTGRES_SETTINGS)
        self._server.start()
        os.sched_setaffinity(self._server.pid, {core})

    def close(self) -> None:
        """Stop the server."""
        self._server.close()

    def prepare(self, name: str, module: str, arguments: Sequence[str] = ()) -> str:
        """Make a database that serves as template."""
        self._execute(f'CREATE DATABASE "{name}"')
        return _run(module, self._server.dsn(name), arguments)

    def copy(self, name: str) -> str:
        """Make a database from a prepared one, its pages written out before the run."""
        self._execute('DROP DATABASE IF EXISTS "run" WITH (FORCE)')
        self._execute(f'CREATE DATABASE "run" TEMPLATE "{name}"')
        self._execute("CHECKPOINT")
        return self._server.dsn("run")

    def number(self, sql: str) -> int:
        """Ask the copy."""
        with psycopg.connect(self._server.dsn("run")) as connection:
            row = connection.execute(sql.encode()).fetchone()
            return int(row[0] or 0) if row else 0

    def cpu_seconds(self) -> float:
        """All processes of the server."""
        return tree_cpu_seconds(self._server.pid)

    def _execute(self, sql: str) -> None:
        with psycopg.connect(self._server.dsn(), autocommit=True) as connection:
            connection.execute(sql.encode())
