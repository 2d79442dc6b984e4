"""A uvicorn worker on one core, and what it uses."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from .machine import cpu_seconds

ROOT = Path(__file__).resolve().parent.parent
_FIRST_PORT, _LAST_PORT = 18100, 18900
_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 10.0


def free_port() -> int:
    """Return a loopback port on which nothing listens."""
    for port in range(_FIRST_PORT, _LAST_PORT):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise SystemExit(f"No free port between {_FIRST_PORT} and {_LAST_PORT}.")


class Process:
    """A program on one core that listens on a port: started on entry, stopped on exit, its output kept for errors."""

    def __init__(self, command: list[str], *, port: int, core: int, env: Mapping[str, str] | None = None) -> None:
        self.port = port
        self._command = command
        self._core = core
        self._env = {**os.environ, **(env or {})}

    def __enter__(self) -> Process:
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=partial(os.sched_setaffinity, 0, {self._core}),
        )
        try:
            self._wait_until_listening()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def output(self) -> str:
        """The last lines of what it printed."""
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-30:])

    def cpu_seconds(self) -> float:
        """CPU time so far."""
        return cpu_seconds(self.pid)

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise SystemExit(f"{' '.join(self._command)} does not listen on port {self.port}:\n{self.output}")


@contextlib.contextmanager
def serving(application: str, *, core: int, env: Mapping[str, str]) -> Iterator[Process]:
    """Serve an ASGI application with one uvicorn worker (uvloop, httptools, wsproto) pinned to ``core``."""
    port = free_port()
    options = "--loop uvloop --http httptools --ws wsproto --timeout-graceful-shutdown 1"
    quiet = "--no-access-log --log-level warning"
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port), *options.split(), *quiet.split()]
    with Process(command, port=port, core=core, env=env) as process:
        yield process
