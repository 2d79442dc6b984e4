"""Processes that are there at once: forked from one that has imported what sites need before they know their settings.

Most of what a server's start costs is imports, and a run of the suite starts some two hundred servers.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

PRELOADED = (
    *("uvicorn.main", "uvicorn.loops.uvloop", "uvicorn.protocols.http.httptools_impl"),
    *("django.core.asgi", "django.core.management", "django.db.models", "django.contrib.admin", "django.test.client"),
    *("django.db.backends.sqlite3.base", "django.db.backends.postgresql.base", "django.db.migrations.executor"),
    *("channels.consumer", "channels.routing", "channels_redis.pubsub", "openai.resources.chat", "openai.types.chat"),
    *("autobahn.twisted.websocket", "twisted.internet.tcp", "twisted.web.http", "requests", "orjson", "psycopg"),
)
_PATIENCE = 60.0
#: Where programs find modules: as before any test was imported, since some of what tests import adds to it.
_PATH = tuple(sys.path)
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([*PRELOADED])


class Forked:
    """A Python module run as a program, with what ``python -m`` gives it; it never outlives the tests."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path) -> None:
        theirs, self._held = _processes.Pipe(duplex=False)
        given = (list(command), dict(env), str(cwd), _PATH, str(log), theirs)
        self._process = _processes.Process(target=_run, args=given, daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process.pid
        return self._process.pid

    def poll(self) -> int | None:
        """Return the status with which it has ended, negative for a signal, or None while it runs."""
        return self._process.exitcode

    def send_signal(self, how: signal.Signals) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, how)

    def wait(self, timeout: float | None = None) -> int | None:
        """Return how it has ended, or None when it still runs after ``timeout`` seconds."""
        self._process.join(timeout)
        return self.poll()


def run(command: Sequence[str], env: Mapping[str, str], cwd: Path) -> str:
    """Run a module to its end and return what it has printed; raises AssertionError when it fails."""
    with tempfile.NamedTemporaryFile() as log:
        status = Forked(command, env, cwd, Path(log.name)).wait(_PATIENCE)
        printed = Path(log.name).read_text(errors="replace")
    assert status == 0, f"{command}: {status}\n{printed}"
    return printed


def _run(command: list[str], env: dict[str, str], cwd: str, path: Sequence[str], log: str, held: Connection) -> None:
    """Become the program."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = [cwd, *path]
    threading.Thread(target=_guard, args=(held,), daemon=True).start()
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def _guard(held: Connection) -> None:
    """End with the tests, however they went: the other end of the pipe closes when they are gone."""
    held.poll(None)
    os.kill(os.getpid(), signal.SIGKILL)
