"""A site that has installed the app and not the package that it needs."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "django_eventstream"]
ROOT_URLCONF = "llmstream.urls"
