"""A worker process of the site in this checkout."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .server import Server
from .web import ROOT

OPTIONS: Final = ("runworker", "llmstream-generations")


class Worker(Server):
    """One process that runs the generations that the web processes hand over; ``env`` goes over the environment."""

    name = "worker"

    def __init__(self, env: Mapping[str, str] | None = None, log: Path | None = None) -> None:
        super().__init__(log)
        self._env = {**os.environ, **(env or {})}

    def command(self) -> list[str | Path]:
        """``manage.py runworker``."""
        return [sys.executable, "manage.py", *OPTIONS]

    def surroundings(self) -> dict[str, Any]:
        """The checkout."""
        return {"cwd": ROOT, "env": self._env}

    def answers(self) -> bool:
        """There is nothing to ask: what it is not there to hear yet, it finds in the database."""
        return True
