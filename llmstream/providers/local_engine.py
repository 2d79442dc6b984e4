"""The embedded model's process, as seen from the process that uses it."""

from __future__ import annotations

import atexit
import json
import logging
import os
import secrets
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from ..exceptions import ProviderUnavailable
from .local_model import COMMAND
from .local_server import Order

logger = logging.getLogger("llmstream.providers")

#: Where the model's process finds llmstream, before all other places.
PATH = [str(Path(__file__).resolve().parents[2])]

_LOAD_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine serves; engines with equal options are one."""

    path: Path
    context: int
    slots: int
    threads: int


@dataclass(frozen=True, slots=True)
class Address:
    """Where a running engine is and the key that it wants."""

    url: str
    api_key: str


class LocalEngine:
    """Starts the model's process when it is first wanted and again when it has died; ends it with this process.

    A forked child does not share its parent's engine but starts one of its own.
    """

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._address: Address | None = None
        self._owner = 0

    @property
    def address(self) -> Address | None:
        """The running engine's address; None when it has to be started."""
        process = self._process  # Another thread may be about to replace it.
        running = self._owner == os.getpid() and process is not None and process.poll() is None
        return self._address if running else None

    def start(self) -> Address:
        """Return the engine's address, after loading the model if need be: blocks, a second or so.

        Raises ``ProviderUnavailable`` and logs what to do when a part is missing.
        """
        with self._lock:
            if address := self.address:
                return address
            if not self._options.path.is_file():
                logger.error("The embedded model is missing: run %s (no file %s)", COMMAND, self._options.path)
                raise ProviderUnavailable
            self._stop()
            self._address = self._launch()
            return self._address

    def _launch(self) -> Address:
        key = secrets.token_urlsafe(32)
        options = self._options
        process = self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "llmstream.providers.local_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(),
            # Ctrl-C is for the web server, which takes its time to end its streams.
            start_new_session=True,
        )
        self._owner = os.getpid()
        atexit.register(self._stop)
        order = Order(str(options.path), key, options.context, options.slots, options.threads)
        deadline = threading.Timer(_LOAD_TIMEOUT, process.kill)
        deadline.start()
        try:
            answer = _ask(process, order)
        finally:
            deadline.cancel()
        if "url" not in answer:
            self._stop()
            logger.error("The embedded model cannot be run: %s", answer.get("error") or "its process died")
            if "ImportError" in answer.get("error", "") or "ModuleNotFoundError" in answer.get("error", ""):
                logger.error(
                    'The embedded model needs llama.cpp: pip install "llmstream[local]" (and libgomp1 on Debian)'
                )
            raise ProviderUnavailable
        return Address(f"{answer['url']}/v1", key)

    def _stop(self) -> None:
        atexit.unregister(self._stop)
        process, self._process, self._address = self._process, None, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def _environment() -> dict[str, str]:
    """Return the environment of the model's process.

    OpenMP's threads spin while they wait; on a machine that has other work to do that made tokens ten times slower.
    """
    path = os.pathsep.join([*PATH, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"OMP_WAIT_POLICY": "passive", **os.environ, "PYTHONPATH": path}


def _ask(process: subprocess.Popen[str], order: Order) -> dict[str, str]:
    """Send the order and wait for the answer; an empty one when the process has died."""
    if process.stdin is None or process.stdout is None:
        return {}
    try:
        process.stdin.write(json.dumps(asdict(order)) + "\n")
        process.stdin.flush()
        answer: dict[str, str] = json.loads(process.stdout.readline() or "{}")
    except (OSError, ValueError):
        return {}
    return answer


@cache
def engine(options: EngineOptions) -> LocalEngine:
    """Return this process's engine for these options."""
    return LocalEngine(options)
