"""Every view behind a sign-in page, to which an EventSource must not be redirected."""

from __future__ import annotations

from .base import *  # noqa: F403
from .base import MIDDLEWARE

MIDDLEWARE = [*MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
LOGIN_URL = "/accounts/login/"
