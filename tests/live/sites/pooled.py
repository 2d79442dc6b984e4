"""PostgreSQL through Django's connection pool of at most four connections."""

from __future__ import annotations

from .base import *  # noqa: F403
from .base import DATABASES

DATABASES["default"]["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 4, "timeout": 20}}
