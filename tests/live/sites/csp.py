"""A strict Content-Security-Policy on everything."""

from __future__ import annotations

from .base import *  # noqa: F403
from .base import MIDDLEWARE

MIDDLEWARE = ["project.middleware.content_security_policy", *MIDDLEWARE]
