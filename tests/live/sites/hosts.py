"""A site that knows its own names, so that the origin of a handshake is checked."""

from __future__ import annotations

from .base import *  # noqa: F403
from .base import LLMSTREAM

ALLOWED_HOSTS = ["127.0.0.1", ".good.example"]
LLMSTREAM = {**LLMSTREAM, "POLICY": "tests.live.sites.policy.NoisyPolicy"}
