"""System checks: each fault is found, and a sound site has none."""

from __future__ import annotations

from typing import Any

import django
import pytest
from django.core.checks import run_checks
from django.test import override_settings

import llmstream.runners.tasks  # noqa: F401  # imported here, while TASKS can be read
from llmstream.checks import check_databases, pool_faults, sqlite_faults
from tests.support import changed

PARROT = {"PROVIDER": "llmstream.providers.scripted.ScriptedProvider"}
GZIP = "django.middleware.gzip.GZipMiddleware"
SOUND = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"}


def found() -> list[str]:
    """Return the ids of what the checks find, without the prefix."""
    return [message.id.removeprefix("llmstream.") for message in run_checks(tags=["llmstream"]) if message.id]


def test_the_test_site_is_sound() -> None:
    assert found() == []


@pytest.mark.django_db
def test_the_test_database_is_sound() -> None:
    assert check_databases(None) == []


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ({"MODELS": {"m": PARROT}, "UNKNOWN": 1}, ["E001"]),
        ({"MODELS": {"m": PARROT}, "LEASE": "long"}, ["E001"]),
        ({"MODELS": [PARROT]}, ["E001"]),
        ([], ["E001"]),
        ({"MODELS": {"m": {"PROVIDER": "no.such.Provider"}}}, ["E002"]),
        ({"MODELS": {"m": {"PROVIDER": "Provider"}}}, ["E002"]),
        ({"MODELS": {"m": PARROT}, "POLICY": "llmstream.permissions.Nobody"}, ["E002"]),
        ({"MODELS": {"m": PARROT}, "BROKER": "no.such.Broker"}, ["E002"]),
        ({"MODELS": {"m": {**PARROT, "TOOLS": ["tests.tools.site.add", "tests.tools.site.pay"]}}}, []),
        ({"MODELS": {"m": {**PARROT, "TOOLS": "tests.tools.site.add"}}}, ["E001"]),
        ({"MODELS": {"m": {**PARROT, "TOOLS": ["tests.tools.site.missing"]}}}, ["E002"]),
        ({"MODELS": {"m": {**PARROT, "TOOLS": ["tests.tools.site.orders"]}}}, ["E007"]),
        ({"MODELS": {"m": {**PARROT, "TOOLS": ["tests.tools.site.add", "tests.tools.site.add"]}}}, ["E007"]),
        ({"MODELS": {"m": PARROT}, "DEFAULT_MODEL": "n"}, ["E003"]),
        ({"MODELS": {"m": PARROT}, "BUSY": "wait"}, ["E004"]),
        ({"MODELS": {"m": PARROT}, "RETENTION_ACTION": "Strip"}, ["E004"]),
        ({"MODELS": {"m": PARROT}, "RETENTION_POLICY": "nothing.there"}, ["E002"]),
        ({"MODELS": {"m": PARROT}, "LEASE": 2.9}, ["E005"]),
        ({"MODELS": {"m": PARROT}, "LEASE": 3.0}, []),
        ({}, ["W001"]),
        ({"MODELS": {"m": PARROT}}, []),
    ],
)
def test_faults_of_the_setting_are_found(given: Any, ids: list[str]) -> None:
    with override_settings(LLMSTREAM=given):
        assert found() == ids


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, ["W002", "W003"]),
        (SOUND, []),
        ({**SOUND, "transaction_mode": "exclusive"}, []),
        ({**SOUND, "transaction_mode": "DEFERRED"}, ["W002"]),
        ({**SOUND, "init_command": "PRAGMA synchronous=NORMAL;"}, ["W003"]),
    ],
)
def test_faults_of_a_sqlite_database_are_found(options: dict[str, Any], ids: list[str]) -> None:
    assert [str(message.id)[10:] for message in sqlite_faults(options)] == ids


@pytest.mark.parametrize(
    ("pool", "ids"),
    [
        (None, []),
        (False, []),
        (True, []),
        ({"max_size": 4}, []),
        ({"max_size": 3}, ["W004"]),
        ({"min_size": 1}, []),
    ],
)
def test_a_pool_that_is_too_small_is_found(pool: Any, ids: list[str]) -> None:
    assert [str(message.id)[10:] for message in pool_faults({} if pool is None else {"pool": pool})] == ids


def test_the_pool_s_default_size_may_be_too_small() -> None:
    with changed(DATABASE_THREADS=8):
        assert [message.id for message in pool_faults({"pool": True})] == ["llmstream.W004"]


def test_a_server_that_cannot_stream_is_found() -> None:
    with override_settings(ASGI_APPLICATION=None):
        assert found() == ["W005"]


def test_compression_is_told_where_django_garbles_streams() -> None:
    with override_settings(MIDDLEWARE=[GZIP]):
        assert found() == (["W006"] if django.VERSION < (6, 1) else [])


CHANNELS = {"BROKER": "llmstream.brokers.channels.ChannelsBroker"}
WORKERS = {**CHANNELS, "RUNNER": "llmstream.runners.worker.WorkerRunner"}
PUBSUB = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}
IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.mark.parametrize(
    ("given", "layers", "ids"),
    [
        (CHANNELS, PUBSUB, []),
        (WORKERS, PUBSUB, []),
        (CHANNELS, {}, ["E006"]),
        (WORKERS, {}, ["E006"]),
        ({**CHANNELS, "CHANNEL_LAYER": "other"}, PUBSUB, ["E006"]),
        ({**CHANNELS, "CHANNEL_LAYER": "other"}, {"other": PUBSUB["default"]}, []),
        (CHANNELS, IN_MEMORY, ["W007"]),
        (CHANNELS, {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}, ["W008"]),
        ({"RUNNER": WORKERS["RUNNER"]}, PUBSUB, ["W009"]),
        ({"RUNNER": "no.such.Runner"}, {}, ["E002"]),
        ({}, IN_MEMORY, []),
    ],
)
def test_what_is_missing_between_processes_is_found(given: Any, layers: Any, ids: list[str]) -> None:
    with changed(**given), override_settings(CHANNEL_LAYERS=layers):
        assert found() == ids


def test_the_in_memory_layer_is_fine_in_development() -> None:
    with changed(**CHANNELS), override_settings(CHANNEL_LAYERS=IN_MEMORY, DEBUG=True):
        assert found() == []


@pytest.mark.parametrize(
    ("tasks", "ids"),
    [
        (None, ["W010"]),
        ({"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}, ["W010"]),
        ({"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}, []),
    ],
)
def test_a_task_backend_without_workers_is_found(tasks: Any, ids: list[str]) -> None:
    with changed(RUNNER="llmstream.runners.tasks.TaskRunner"), override_settings(TASKS=tasks):
        assert [number for number in found() if number != "W001"] == ids
