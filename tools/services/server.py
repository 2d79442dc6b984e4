"""A program as a child of this process: with files of its own, and never left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
LOG_TAIL = 15

# Reads until the process that started the server is gone, however it went; then ends the server at once.
GUARD = 'read _; kill -"$1" "$2"; kill -CONT "$2"; sleep 1; rm -rf -- "$3"'


class ServerError(RuntimeError):
    """A server could not be had; carries the end of what it said."""


class Server(ABC):
    """One server.

    Its files are in a directory of its own, deleted by ``close``; its output goes to ``log`` if given. As a context
    manager it is started on entry and closed on exit. When this process dies without closing it, the server stops by
    itself.
    """

    name: ClassVar[str]
    #: Asks the server to end cleanly and soon, whoever is connected.
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    #: Ends the server at once with all its processes.
    abandon_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, log: Path | None = None) -> None:
        self._home = Path(tempfile.mkdtemp(prefix=f"llmstream-{self.name.lower()}-"))
        # Programs that do without root's rights must get through.
        self._home.chmod(0o711)
        self.log = log or self._home / "log"
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

    @abstractmethod
    def command(self) -> list[str | Path]:
        """Return the program and its arguments; files that they name are in place when this returns."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server takes connections now."""

    def surroundings(self) -> dict[str, Any]:
        """Return what subprocess gets beside the command: directory, environment, account."""
        return {}

    @property
    def pid(self) -> int:
        """The id of the server's first process; only while it runs."""
        if self._process is None:
            raise ServerError(f"{self.name} does not run.")
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status of a server that was started and ended by itself; otherwise None."""
        return None if self._process is None else self._process.poll()

    def launch(self) -> None:
        """Start the server, new or after ``stop``, ``kill`` or its own end, and return at once."""
        if self._process is not None and self.status is None:
            raise ServerError(f"{self.name} runs already.")
        self.kill()
        command, surroundings = self.command(), self.surroundings()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **surroundings
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(self.abandon_signal.value), str(self._process.pid), self._home],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_ready(self) -> None:
        """Return once the server takes connections; raises ServerError when it ends or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT
        while self._process is not None and self.status is None and time.monotonic() < deadline:
            if self.answers():
                return
            time.sleep(0.02)
        said = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:])
        self.kill()
        raise ServerError(f"{self.name} did not start:\n{said}")

    def start(self) -> None:
        """Start the server as ``launch`` does and return once it takes connections."""
        self.launch()
        self.wait_ready()

    def terminate(self) -> None:
        """Ask the server to shut down cleanly, cutting open connections, and return at once."""
        if self._process is not None:
            self._process.send_signal(self.stop_signal)
            # A paused process hears of it only when it goes on.
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Shut down cleanly, cutting open connections; does nothing when the server does not run."""
        self.terminate()
        self._reap()

    def kill(self) -> None:
        """Kill the server with all its processes, as ``kill -9`` does; its files stay for the next ``start``."""
        if self._process is None:
            return
        children = _children(self._process.pid)
        self._process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        # Children whose parent was killed before are in its group still.
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._reap()
        # They may hold what the next start needs: a port, shared memory.
        psutil.wait_procs(children, STOP_TIMEOUT)

    def restart(self) -> None:
        """Stop and start on the same port and files."""
        self.stop()
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


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
