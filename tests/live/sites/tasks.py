"""A site that runs its generations as tasks, kept in its database."""

from __future__ import annotations

import django

from tests.live.sites.base import *  # noqa: F403
from tests.live.sites.base import INSTALLED_APPS, LLMSTREAM

_FRAMEWORK = [] if django.VERSION >= (6, 0) else ["django_tasks"]
INSTALLED_APPS = [*INSTALLED_APPS, *_FRAMEWORK, "django_tasks_db"]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
LLMSTREAM = {"RUNNER": "llmstream.runners.tasks.TaskRunner", **LLMSTREAM}
