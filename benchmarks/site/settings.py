"""Settings of the benchmarks' site."""

from __future__ import annotations

import os

from benchmarks.databases import django_databases
from benchmarks.layers import channel_layers

SECRET_KEY = "benchmarks"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "benchmarks.site.urls"
ASGI_APPLICATION = "benchmarks.site.asgi.application"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = django_databases(pool=10)
CHANNEL_LAYERS = channel_layers()

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "llmstream",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "llmstream.middleware.one_thread",
]

LLMSTREAM = {
    "MODELS": {
        "paced": {
            "PROVIDER": "benchmarks.site.provider.PacedProvider",
            # Longer than any answer that is held back to measure an open stream.
            "FIRST_TOKEN_TIMEOUT": 120.0,
        },
        "upstream": {
            "PROVIDER": "llmstream.providers.openai.OpenAIProvider",
            "MODEL": "bench",
            "OPTIONS": {"base_url": os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:1/v1"), "api_key": "bench"},
        },
    },
    "DEFAULT_MODEL": os.environ.get("BENCH_MODEL", "paced"),
    "BROKER": f"llmstream.brokers.{'channels.ChannelsBroker' if CHANNEL_LAYERS else 'memory.MemoryBroker'}",
}
