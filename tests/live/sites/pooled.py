"""PostgreSQL through Django's pool of at most four connections, and middleware that takes one for every request."""

from __future__ import annotations

from .base import *  # noqa: F403
from .base import DATABASES, MIDDLEWARE

DATABASES["default"]["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 4, "timeout": 20}}
MIDDLEWARE = [*MIDDLEWARE, "tests.live.sites.middleware.SyncOnlyMiddleware"]
