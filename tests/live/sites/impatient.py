"""SQLite that gives up on a lock after half a second."""

from __future__ import annotations

from .base import *  # noqa: F403
from .base import DATABASES

DATABASES["default"]["OPTIONS"]["timeout"] = 0.5
