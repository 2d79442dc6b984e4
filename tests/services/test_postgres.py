"""PostgreSQL from the wheel: what the tests and benchmarks that start it rely on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import psycopg
import pytest

from tools.services.postgres import PostgresServer
from tools.services.server import ServerError

ROOT = Path(__file__).resolve().parents[2]
ABANDON = """
import os
from tools.services.postgres import PostgresServer
server = PostgresServer()
server.start()
print(server.pid, server.data_dir, flush=True)
os._exit(1)
"""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server with few connections."""
    with PostgresServer(settings={"max_connections": 4}) as server:
        yield server


def test_serves_as_many_connections_as_said_and_not_as_root(server: PostgresServer) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(psycopg.connect(server.dsn()))
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            psycopg.connect(server.dsn())
    assert psutil.Process(server.pid).uids().effective != 0


def test_killed_server_comes_back_on_its_port_with_what_was_committed(server: PostgresServer) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (number int)")
        connection.execute("INSERT INTO kept VALUES (7)")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    server.start()
    with psycopg.connect(server.dsn()) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]


def test_restart_takes_new_settings(server: PostgresServer) -> None:
    server.restart({"max_connections": 9})
    with psycopg.connect(server.dsn()) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("9",)


def test_close_leaves_no_process_and_no_file(server: PostgresServer) -> None:
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    home = server.data_dir.parent
    server.close()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    assert not home.exists()


def test_server_and_its_files_go_when_the_process_that_started_it_dies() -> None:
    starter = subprocess.run([sys.executable, "-c", ABANDON], cwd=ROOT, stdout=subprocess.PIPE, check=False, text=True)
    pid, data_dir = starter.stdout.split()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(int(pid)) or Path(data_dir).exists():
        assert time.monotonic() < deadline, "the server outlives the process that started it"
        time.sleep(0.05)


def test_refused_setting_is_reported_with_what_postgres_said() -> None:
    server = PostgresServer(settings={"max_connections": "many"})
    with pytest.raises(ServerError, match="max_connections"), server:
        raise AssertionError("started with a setting that makes no sense")
