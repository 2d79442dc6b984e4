"""A site of several processes that notifies people; its Redis is in ``REDIS_URL``."""

from __future__ import annotations

import os

from project.settings import redis_options
from tests.live.sites.cluster import *  # noqa: F403
from tests.live.sites.cluster import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django_eventstream", "llmstream.contrib.eventstream"]
EVENTSTREAM_REDIS = redis_options(os.environ["REDIS_URL"])
