"""Settings of the demo site. Everything comes from the environment with a default that works on a laptop.

``DATABASE_URL``    ``postgres://user:password@host:port/name`` or ``sqlite:///path``; a file in the checkout by default
``REDIS_URL``       channel layer shared by several server processes; in memory by default
``LLMSTREAM_DEMO_RUNNER``   ``worker``: answers run in ``runworker llmstream-generations``; needs ``REDIS_URL``
``OPENAI_API_KEY``, ``OPENAI_BASE_URL``, ``OPENAI_MODEL``   answer with that service instead of the embedded model
``LLMSTREAM_DEMO_MODEL``   ``local``, ``openai`` or ``scripted``: which one answers when a prompt names none
``DJANGO_MEDIA_ROOT``   where attached files are kept, ``.demo/media`` in the checkout by default
``DJANGO_DEBUG``, ``DJANGO_SECRET_KEY``, ``DJANGO_ALLOWED_HOSTS``   as in any Django site
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DJANGO_DEBUG", "1") == "1"
# Good for a laptop only; sessions signed with a published key can be forged.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "insecure-demo-key-not-for-production")
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

# One-click sign-in as a demo user, without a password. Never on outside development.
DEMO_SIGN_IN = DEBUG

INSTALLED_APPS = [
    "daphne",  # first: makes runserver speak ASGI, which streaming needs
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "django_eventstream",
    "django_htmx",
    "llmstream",
    "llmstream.contrib.eventstream",
    "project",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "project.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Runs those above in one thread, entered once for each request.
    "llmstream.middleware.one_thread",
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
WSGI_APPLICATION = "project.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "project.notifications.notifications",
            ],
        },
    },
]


def database(url: str) -> dict[str, Any]:
    """Return the DATABASES entry for a ``postgres://`` or ``sqlite:///`` URL."""
    parts = urlsplit(url)
    if parts.scheme in {"postgres", "postgresql"}:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path[1:]),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(parts.hostname or ""),
            "PORT": parts.port or "",
        }
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": unquote(parts.path[1:]),
        # Writers queue instead of failing with "database is locked", and readers never wait for them.
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


def redis_options(url: str) -> dict[str, Any]:
    """Return the arguments of ``redis.Redis`` for a ``redis://:password@host:port/db`` URL."""
    parts = urlsplit(url)
    return {
        "host": unquote(parts.hostname or "localhost"),
        "port": parts.port or 6379,
        "db": int(parts.path.strip("/") or 0),
        "password": unquote(parts.password) if parts.password else None,
    }


DATABASES = {"default": database(os.environ.get("DATABASE_URL") or f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CHANNEL_LAYERS: dict[str, Any] = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
if REDIS_URL := os.environ.get("REDIS_URL"):
    CHANNEL_LAYERS["default"] = {
        # The Pub/Sub layer: the core Redis layer drops messages at token rates.
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL]},
    }

# Notifications: who may read them, where those are kept that a client has missed, and how they reach other processes.
EVENTSTREAM_CHANNELMANAGER_CLASS = "llmstream.contrib.eventstream.channelmanager.ChannelManager"
EVENTSTREAM_STORAGE_CLASS = "llmstream.contrib.eventstream.storage.Storage"
if REDIS_URL:
    EVENTSTREAM_REDIS = redis_options(REDIS_URL)

AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = []
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "chat"
LOGOUT_REDIRECT_URL = "home"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

# Files that people attach; out of the way of what is served as it is.
MEDIA_ROOT = os.environ.get("DJANGO_MEDIA_ROOT") or BASE_DIR / ".demo" / "media"

SYSTEM_PROMPT = "You are a helpful assistant. Answer briefly and clearly."

AGENT_TOOLS = ["project.tools.weather", "project.tools.book_table"]
#: What the agent does when no model is there to decide: two look-ups side by side, then something to agree to.
AGENT_SCRIPT: list[Any] = [
    {"text": "Let me see where the weather is better, Lisbon or Oslo. ", "per_second": 25},
    {"tool": "weather", "input": {"city": "Lisbon", "days": 3}},
    {"tool": "weather", "input": {"city": "Oslo", "days": 3}},
    {"next": True},
    {"text": "Lisbon it is. I would book a table there, if you agree. ", "per_second": 25},
    {"tool": "book_table", "input": {"city": "Lisbon", "people": 2}},
    {"next": True},
    {"text": "That is all that I can do. The last tool said:\n\n", "per_second": 25},
    {"result": 2},
]


def models() -> dict[str, dict[str, Any]]:
    """Return the models on offer: ``openai`` only where the environment says how to reach it."""
    offered: dict[str, dict[str, Any]] = {
        "local": {
            "PROVIDER": "llmstream.providers.local.LocalProvider",
            "LABEL": "SmolLM2 135M on this machine",
            "SYSTEM": SYSTEM_PROMPT,
        },
        "scripted": {
            "PROVIDER": "llmstream.providers.scripted.ScriptedProvider",
            "LABEL": "Scripted answers (no model)",
        },
        "agent": {
            "PROVIDER": "llmstream.providers.scripted.ScriptedProvider",
            "LABEL": "Scripted agent (no model)",
            "OPTIONS": {"script": AGENT_SCRIPT},
            "TOOLS": AGENT_TOOLS,
        },
    }
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        name = os.environ.get("OPENAI_MODEL", "gpt-5.4-mini")
        # The openai package reads the key and the base URL from the environment by itself.
        offered["openai"] = {
            "PROVIDER": "llmstream.providers.openai.OpenAIProvider",
            "LABEL": name,
            "MODEL": name,
            "SYSTEM": SYSTEM_PROMPT,
        }
        offered["agent"] = {**offered["openai"], "LABEL": f"{name} with tools", "TOOLS": AGENT_TOOLS}
    return offered


_MODELS = models()
LLMSTREAM: dict[str, Any] = {
    "MODELS": _MODELS,
    "DEFAULT_MODEL": os.environ.get("LLMSTREAM_DEMO_MODEL") or ("openai" if "openai" in _MODELS else "local"),
    "ATTACHMENTS": ["image/png", "image/jpeg", "image/gif", "image/webp", "text/*", "application/pdf"],
}
if REDIS_URL:
    LLMSTREAM["BROKER"] = "llmstream.brokers.channels.ChannelsBroker"
if os.environ.get("LLMSTREAM_DEMO_RUNNER") == "worker":
    LLMSTREAM["RUNNER"] = "llmstream.runners.worker.WorkerRunner"
