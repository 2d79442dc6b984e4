"""Connections kept for ten minutes by whichever thread has opened one."""

from __future__ import annotations

from .base import *  # noqa: F403
from .base import DATABASES

DATABASES["default"]["CONN_MAX_AGE"] = 600
