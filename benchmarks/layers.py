"""Channel layers of the benchmarks: both of channels-redis, on a Valkey server of their own."""

from __future__ import annotations

import os
from typing import Any

from tools.services.valkey import ValkeyServer

from .machine import cpu_seconds

#: The environment variables that name a server's channel layer, a key of BACKENDS, and the Valkey server behind it.
LAYER, VALKEY = "BENCH_LAYER", "BENCH_VALKEY"
BACKENDS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}
# The core layer waits five seconds in a command, and redis-py by default not longer than that for its answer.
_SOCKET_TIMEOUT = 30


def channel_layers() -> dict[str, dict[str, Any]]:
    """Django's CHANNEL_LAYERS for the layer that the environment names; none without one."""
    if not (name := os.environ.get(LAYER)):
        return {}
    host = {"address": os.environ[VALKEY], "socket_timeout": _SOCKET_TIMEOUT}
    return {"default": {"BACKEND": BACKENDS[name], "CONFIG": {"hosts": [host]}}}


class Layer:
    """The Valkey server, on the client's core."""

    def __init__(self) -> None:
        self._server = ValkeyServer()
        self._server.start()

    def close(self) -> None:
        """Stop the server."""
        self._server.close()

    def renew(self, name: str) -> dict[str, str]:
        """Forget all keys; return the environment of a server that uses the layer ``name``."""
        self._server.flush()
        return {LAYER: name, VALKEY: self._server.url}

    def cpu_seconds(self) -> float:
        """CPU time of the server so far."""
        return cpu_seconds(self._server.pid)
