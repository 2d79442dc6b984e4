"""Connections kept for ten minutes by whichever thread has opened one, and middleware that opens them everywhere."""

from __future__ import annotations

from .base import *  # noqa: F403
from .base import DATABASES, MIDDLEWARE

DATABASES["default"]["CONN_MAX_AGE"] = 600
MIDDLEWARE = [*MIDDLEWARE, "tests.live.sites.middleware.SyncOnlyMiddleware"]
