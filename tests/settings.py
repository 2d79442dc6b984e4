"""Settings of the test suite: a plain site with llmstream in it.

``LLMSTREAM_TEST_DB`` chooses the database: ``sqlite`` (the default; a file, since threads share it), ``postgres`` (the
run starts a server of its own), or the URL of a database, which is how the tests' server processes join a run.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

from project.settings import database

SECRET_KEY = "tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.urls"
ASGI_APPLICATION = "tests.asgi.application"
STATIC_URL = "static/"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_eventstream",
    "llmstream",
    "llmstream.contrib.eventstream",
]

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def _database(choice: str) -> dict[str, Any]:
    if choice == "postgres":
        # Host and port come from the postgres_server fixture.
        return database("postgresql://postgres@127.0.0.1/llmstream")
    if choice != "sqlite":
        return database(choice)
    file = Path(tempfile.gettempdir()) / f"llmstream-test-{uuid4().hex}.sqlite3"
    # Django deletes the file alone; a thread that still had it open leaves its log behind.
    for suffix in ("", "-wal", "-shm"):
        atexit.register(Path(f"{file}{suffix}").unlink, missing_ok=True)
    return {**database(f"sqlite:///{file}"), "TEST": {"NAME": str(file)}}


DATABASES = {"default": _database(os.environ.get("LLMSTREAM_TEST_DB") or "sqlite")}

EVENTSTREAM_CHANNELMANAGER_CLASS = "llmstream.contrib.eventstream.channelmanager.ChannelManager"
EVENTSTREAM_STORAGE_CLASS = "llmstream.contrib.eventstream.storage.Storage"

LLMSTREAM: dict[str, Any] = {
    "MODELS": {"default": {"PROVIDER": "llmstream.providers.scripted.ScriptedProvider", "LABEL": "Scripted"}},
    "DEFAULT_MODEL": "default",
}
