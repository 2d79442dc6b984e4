"""System checks: what would break streaming or lose its benefits, told before it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import django
from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from .conf import BUSY_POLICIES, RETENTION_ACTIONS, Settings, get_settings
from .log.rows import database_alias
from .toolbox.registry import get_tools

_GZIP = "django.middleware.gzip.GZipMiddleware"
_IN_MEMORY_LAYER = "channels.layers.InMemoryChannelLayer"
#: The layer of channels-redis that is not for us.
CORE_LAYER = "channels_redis.core.RedisChannelLayer"
_TASK_RUNNER = "llmstream.runners.tasks.TaskRunner"


#: What a setting that cannot be read raises.
_UNREADABLE = ImproperlyConfigured, TypeError, ValueError, AttributeError


@register("llmstream")
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E001-E005, E007: the ``LLMSTREAM`` setting can be read and everything it names exists."""
    try:
        settings = get_settings()
    except _UNREADABLE as error:
        return [Error(f"The LLMSTREAM setting cannot be read: {error}", id="llmstream.E001")]
    return list(_settings_faults(settings))


def _settings_faults(settings: Settings) -> Iterator[CheckMessage]:
    missing = False
    for name, path in _dotted_paths(settings):
        try:
            import_string(path)
        except ImportError as error:
            missing = True
            yield Error(f"LLMSTREAM {name} cannot be imported: {error}", id="llmstream.E002")
    for key, model in () if missing else settings.models.items():
        try:
            get_tools(model)
        except ImproperlyConfigured as error:
            yield Error(f"LLMSTREAM MODELS[{key!r}]['TOOLS']: {error}", id="llmstream.E007")
    if not settings.models:
        yield Warning(
            "LLMSTREAM names no models, so no prompt can be answered.",
            hint="Add LLMSTREAM = {'MODELS': {'default': {'PROVIDER': ...}}}.",
            id="llmstream.W001",
        )
    elif settings.model() is None:
        yield Error(f"LLMSTREAM DEFAULT_MODEL {settings.default_model!r} is no key of MODELS.", id="llmstream.E003")
    for name, value, allowed in (
        ("BUSY", settings.busy, BUSY_POLICIES),
        ("RETENTION_ACTION", settings.retention_action, RETENTION_ACTIONS),
    ):
        if value not in allowed:
            yield Error(f"LLMSTREAM {name} must be one of: {', '.join(allowed)}.", id="llmstream.E004")
    if settings.lease < 3 * settings.poll_interval:
        yield Error(
            "LLMSTREAM LEASE must be at least three times POLL_INTERVAL, or living generations lapse.",
            id="llmstream.E005",
        )


def _dotted_paths(settings: Settings) -> Iterator[tuple[str, str]]:
    yield "POLICY", settings.policy
    yield "BROKER", settings.broker
    yield "RUNNER", settings.runner
    yield "QUOTA", settings.quota
    yield "RETENTION_POLICY", settings.retention_policy
    for key, model in settings.models.items():
        yield f"MODELS[{key!r}]['PROVIDER']", model.provider
        if isinstance(model.context, str):
            yield f"MODELS[{key!r}]['CONTEXT']", model.context
        for path in model.tools:
            yield f"MODELS[{key!r}]['TOOLS']", path


@register(Tags.database, "llmstream")
def check_databases(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W002-W004: the database is set up for concurrent writers."""
    connection = connections[database_alias()]
    options = connection.settings_dict.get("OPTIONS", {})
    try:
        return list(sqlite_faults(options)) if connection.vendor == "sqlite" else list(pool_faults(options))
    except _UNREADABLE:  # check_settings tells
        return []


def sqlite_faults(options: dict[str, Any]) -> Iterator[CheckMessage]:
    """What a SQLite database's OPTIONS lack."""
    if options.get("transaction_mode", "").upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield Warning(
            "SQLite without IMMEDIATE transactions refuses concurrent writers ('database is locked').",
            hint="Set OPTIONS['transaction_mode'] = 'IMMEDIATE' and a 'timeout' of about 20 seconds.",
            id="llmstream.W002",
        )
    if "wal" not in options.get("init_command", "").lower():
        yield Warning(
            "SQLite without WAL lets readers and the writer block each other.",
            hint="Set OPTIONS['init_command'] = 'PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;'.",
            id="llmstream.W003",
        )


def pool_faults(options: dict[str, Any]) -> Iterator[CheckMessage]:
    """Whether a server database's pool has room for what a process uses at once."""
    pool = options.get("pool")
    size = pool.get("max_size", 4) if isinstance(pool, dict) else 4
    needed = get_settings().database_threads + 1
    if pool and size < needed:
        yield Warning(
            f"The connection pool has {size} connections, fewer than the {needed} that llmstream uses at once.",
            hint="Raise OPTIONS['pool']['max_size'] or lower LLMSTREAM['DATABASE_THREADS'].",
            id="llmstream.W004",
        )


@register("llmstream")
def check_server(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W005-W006: nothing between the views and the client holds streams back."""
    return list(_server_faults())


def _server_faults() -> Iterator[CheckMessage]:
    if not getattr(django_settings, "ASGI_APPLICATION", None):
        yield Warning(
            "ASGI_APPLICATION is not set, so runserver speaks WSGI and cannot stream.",
            hint="Set it, and put 'daphne' first in INSTALLED_APPS.",
            id="llmstream.W005",
        )
    if _GZIP in django_settings.MIDDLEWARE and django.VERSION < (6, 1):
        yield Warning(
            "GZipMiddleware before Django 6.1 garbles event streams; llmstream keeps its own out of its hands by a"
            " Content-Encoding header, other middleware that compresses must be told to leave text/event-stream alone.",
            id="llmstream.W006",
        )


@register("llmstream")
def check_processes(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E006, W007-W010: what is to work between processes has what it needs for it."""
    try:
        settings = get_settings()
        broker, runner = import_string(settings.broker), import_string(settings.runner)
    except (ImportError, *_UNREADABLE):  # check_settings tells
        return []
    faults: list[CheckMessage] = []
    needed_by = [name for name, part in (("BROKER", broker), ("RUNNER", runner)) if part.needs_channel_layer]
    if needed_by:
        faults += _layer_faults(settings.channel_layer, " and ".join(needed_by))
    if needed_by == ["RUNNER"]:
        faults.append(
            Warning(
                "Generations run in workers, but LLMSTREAM BROKER carries nothing: readers find their text by polling.",
                hint="Set LLMSTREAM['BROKER'] = 'llmstream.brokers.channels.ChannelsBroker'.",
                id="llmstream.W009",
            )
        )
    if settings.runner == _TASK_RUNNER and _task_backend().endswith((".ImmediateBackend", ".DummyBackend")):
        faults.append(
            Warning(
                "The default task backend has no workers, so generations run in the web process, or not at all.",
                hint="Set TASKS to a backend with workers, or LLMSTREAM['RUNNER'] to the local runner.",
                id="llmstream.W010",
            )
        )
    return faults


def _layer_faults(alias: str, needed_by: str) -> Iterator[CheckMessage]:
    layer = getattr(django_settings, "CHANNEL_LAYERS", {}).get(alias)
    if layer is None:
        yield Error(
            f"CHANNEL_LAYERS has no {alias!r}, which LLMSTREAM {needed_by} needs.",
            hint="Configure channels_redis.pubsub.RedisPubSubChannelLayer, or choose the alias by CHANNEL_LAYER.",
            id="llmstream.E006",
        )
    elif layer.get("BACKEND") == _IN_MEMORY_LAYER and not django_settings.DEBUG:
        yield Warning(
            "The in-memory channel layer connects nothing: each process has one of its own.",
            hint="Use channels_redis.pubsub.RedisPubSubChannelLayer.",
            id="llmstream.W007",
        )
    elif layer.get("BACKEND") == CORE_LAYER:
        yield Warning(
            "The core Redis channel layer drops messages at the rate of tokens.",
            hint="Use channels_redis.pubsub.RedisPubSubChannelLayer.",
            id="llmstream.W008",
        )


def _task_backend() -> str:
    tasks = getattr(django_settings, "TASKS", None) or {}
    return str(tasks.get("default", {}).get("BACKEND", "default.ImmediateBackend"))
