"""The demo site of the tests in Unfold's dress, which a strict content policy would strip of its scripts."""

from __future__ import annotations

from tests.demo.settings import *  # noqa: F403
from tests.demo.settings import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = ["unfold", *INSTALLED_APPS, "llmstream.contrib.unfold"]
MIDDLEWARE = [path for path in MIDDLEWARE if path != "project.middleware.content_security_policy"]
