"""A site of several processes that expects many clients: PostgreSQL's pool and the middleware of docs/deployment.md."""

from __future__ import annotations

from .cluster import *  # noqa: F403
from .cluster import DATABASES, MIDDLEWARE

DATABASES["default"]["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 6, "timeout": 20}, "prepare_threshold": 5}
MIDDLEWARE = [*MIDDLEWARE, "llmstream.middleware.one_thread"]
