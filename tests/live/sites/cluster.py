"""A site of several processes over a channel layer, whose address is in ``REDIS_URL``."""

from __future__ import annotations

import os

from tests.live.sites.base import *  # noqa: F403
from tests.live.sites.base import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "channels"]
ASGI_APPLICATION = "tests.live.sites.asgi_cluster.application"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
    }
}
