"""The crowded site with a page that counts what its process holds; its pool neither grows nor shrinks."""

from __future__ import annotations

from .crowded import *  # noqa: F403
from .crowded import DATABASES

DATABASES["default"]["OPTIONS"] = {"pool": {"min_size": 4, "max_size": 4, "timeout": 20}, "prepare_threshold": 5}
ROOT_URLCONF = "tests.live.sites.counts"
