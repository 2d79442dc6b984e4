"""Responses compressed by Django, which buffers a stream or cuts it into members that browsers cannot read."""

from __future__ import annotations

from .base import *  # noqa: F403
from .base import MIDDLEWARE

MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *MIDDLEWARE]
