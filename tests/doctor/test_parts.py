"""Settings, database and channel layer: each fault is found, and a sound site has none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.db.models.functions import Now
from django.test import override_settings

from llmstream.doctor import database, layer
from llmstream.doctor.database import check_database
from llmstream.doctor.examination import examine_parts
from llmstream.doctor.layer import check_layer
from llmstream.doctor.verdicts import Level, Verdict
from tests.generations.services import lapse
from tests.support import PATIENCE, ask, changed, conversation
from tools.services.ports import free_port
from tools.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db(transaction=True)

OK, WARNING, FAULT = Level.OK, Level.WARNING, Level.FAULT
CHANNELS = {"BROKER": "llmstream.brokers.channels.ChannelsBroker"}
WORKERS = {"RUNNER": "llmstream.runners.worker.WorkerRunner"}
IN_MEMORY = {"BACKEND": "channels.layers.InMemoryChannelLayer"}


def levels(verdicts: Iterable[Verdict]) -> dict[str, Level]:
    """Return the worst level of each check; every verdict says what was seen, and every other than ok what to do."""
    found: dict[str, Level] = {}
    for verdict in verdicts:
        assert verdict.seen
        assert bool(verdict.fix) == (verdict.level is not OK)
        found[verdict.check] = max(verdict.level, found.get(verdict.check, OK))
    return found


@pytest.mark.contract
def test_the_test_site_is_sound() -> None:
    found = levels(examine_parts())
    assert {"settings", "database", "migrations", "clock", "leases", "channel layer"} <= found.keys()
    assert set(found.values()) == {OK}


def test_faults_of_the_settings_are_told_and_end_it_when_they_cannot_be_read() -> None:
    with changed(LEASE=1.0):
        assert levels(examine_parts())["settings E005"] is FAULT
    with override_settings(ASGI_APPLICATION=None):
        assert levels(examine_parts())["settings W005"] is WARNING
    with override_settings(LLMSTREAM={"UNKNOWN": 1}):
        assert levels(examine_parts()) == {"settings E001": FAULT}


@pytest.fixture
def wrapper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabaseWrapper]:
    """An empty SQLite database with Django's defaults, which the doctor takes for the site's."""
    entry = {**connections["default"].settings_dict, "NAME": str(tmp_path / "bare.sqlite3"), "OPTIONS": {}}
    wrapper = DatabaseWrapper(entry, "default")
    monkeypatch.setattr(database, "connections", {"default": wrapper})
    yield wrapper
    wrapper.close()


@pytest.fixture
def bare(wrapper: DatabaseWrapper) -> dict[str, Any]:
    """The settings of that database."""
    return wrapper.settings_dict


def test_sqlite_as_django_makes_it_is_found(bare: dict[str, Any]) -> None:
    verdicts = list(check_database())
    assert levels(verdicts) == {"database": OK, "SQLite": FAULT, "migrations": FAULT}
    seen = " ".join(verdict.seen for verdict in verdicts)
    assert "IMMEDIATE" in seen
    assert "journal mode delete" in seen


def test_a_file_that_is_not_in_wal_is_found_whatever_the_options_say(bare: dict[str, Any]) -> None:
    bare["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 1,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA journal_mode=DELETE;",
    }
    found = [(verdict.level, verdict.seen) for verdict in check_database() if verdict.check == "SQLite"]
    assert [level for level, _ in found] == [FAULT, WARNING]
    assert "journal mode delete" in found[0][1]
    assert "after 1 s" in found[1][1]


def test_a_database_that_is_not_there_is_found(bare: dict[str, Any], tmp_path: Path) -> None:
    bare["NAME"] = str(tmp_path / "missing" / "bare.sqlite3")
    assert levels(check_database()) == {"database": FAULT}


@pytest.mark.contract
@pytest.mark.parametrize(("seconds", "level"), [(0, OK), (5, WARNING), (-5, WARNING), (60, FAULT), (-60, FAULT)])
def test_clocks_that_differ_are_found(seconds: int, level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "Now", lambda: Now() + timedelta(seconds=seconds))
    assert levels(check_database())["clock"] is level


def test_answers_without_a_process_are_found() -> None:
    lapse(ask(conversation()).generation.pk)
    assert levels(check_database())["leases"] is WARNING


def test_a_pool_that_is_too_small_is_found(wrapper: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper.ensure_connection()
    monkeypatch.setattr(wrapper, "vendor", "other")
    wrapper.settings_dict["OPTIONS"] = {"pool": {"max_size": 2}}
    assert levels(check_database())["connection pool"] is WARNING


@pytest.mark.parametrize("parts", [WORKERS, CHANNELS, {**CHANNELS, **WORKERS}])
def test_an_in_memory_layer_between_processes_is_found(parts: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "_PATIENCE", 0.1)  # what it carries nowhere does not come later
    with changed(**parts), override_settings(CHANNEL_LAYERS={"default": IN_MEMORY}, DEBUG=True):
        (verdict,) = check_layer()
    assert verdict.level is FAULT
    assert " and ".join(parts) in verdict.seen


def test_a_layer_that_is_not_configured_is_found() -> None:
    with changed(**CHANNELS), override_settings(CHANNEL_LAYERS={}):
        assert levels(check_layer()) == {"channel layer": FAULT}


@pytest.mark.parametrize(
    ("kind", "levels_found"),
    [
        ("pubsub.RedisPubSubChannelLayer", {"channel layer": OK}),
        ("core.RedisChannelLayer", {"channel layer": OK, "channel layer kind": WARNING}),
    ],
)
def test_a_layer_is_tried(
    kind: str, levels_found: dict[str, Level], valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "_PATIENCE", PATIENCE)  # slow is not what it looks for
    entry = {"BACKEND": f"channels_redis.{kind}", "CONFIG": {"hosts": [valkey_server.url]}}
    with changed(**CHANNELS), override_settings(CHANNEL_LAYERS={"default": entry}):
        assert levels(check_layer()) == levels_found


def test_a_layer_that_is_down_is_found() -> None:
    hosts = [f"redis://127.0.0.1:{free_port()}/0"]
    entry = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": hosts}}
    with changed(**CHANNELS), override_settings(CHANNEL_LAYERS={"default": entry}):
        assert levels(check_layer()) == {"channel layer": FAULT}
