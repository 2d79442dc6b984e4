"""A web process as it runs in production: uvicorn with the options of docs/deployment.md."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .ports import free_port, port_open
from .server import Server

ROOT: Final = Path(__file__).resolve().parent.parent.parent
OPTIONS: Final = (
    *("--lifespan", "off", "--timeout-graceful-shutdown", "5"),
    # Longer than nginx keeps a connection, so that it never sends a request into one that is being closed.
    *("--timeout-keep-alive", "75"),
    *("--ws", "wsproto", "--ws-max-size", "131072", "--ws-per-message-deflate", "false"),
)


class WebServer(Server):
    """One uvicorn process on a loopback port that serves the ASGI application ``app``, a dotted path.

    ``env`` goes over this process's environment. Requests are logged.
    """

    name = "uvicorn"

    def __init__(
        self, app: str, env: Mapping[str, str] | None = None, port: int | None = None, log: Path | None = None
    ) -> None:
        super().__init__(log)
        self.port = port or free_port()
        self._app = app
        self._env = {**os.environ, **(env or {})}

    def command(self) -> list[str | Path]:
        """``python -m uvicorn`` with OPTIONS."""
        place = ("--host", "127.0.0.1", "--port", str(self.port))
        return [sys.executable, "-m", "uvicorn", self._app, *place, *OPTIONS]

    def surroundings(self) -> dict[str, Any]:
        """The checkout."""
        return {"cwd": ROOT, "env": self._env}

    def answers(self) -> bool:
        """Whether the port is open."""
        return port_open(self.port)
