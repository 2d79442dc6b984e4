"""A middleware that is not async-capable at each end of the chain."""

from __future__ import annotations

from .base import *  # noqa: F403
from .base import MIDDLEWARE

MIDDLEWARE = [*MIDDLEWARE, "tests.live.sites.middleware.SyncOnlyMiddleware"]
