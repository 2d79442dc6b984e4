"""The database: there, migrated, made for concurrent writers, with room for connections, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now

from ..checks import pool_faults, sqlite_faults
from ..conf import get_settings
from ..generations.endings import lapsed
from ..log.rows import database_alias
from .verdicts import Verdict, fault, ok, warning

#: Milliseconds that a writer should at least wait for another one.
_BUSY_TIMEOUT: Final = 5_000
#: Share of the server's connections from which on there is little left.
_CROWDED: Final = 0.8
#: Seconds by which clocks may differ without anybody noticing.
_SKEW: Final = 1.0


def check_database() -> Iterator[Verdict]:
    """Look at the database that holds the log; not at what is in it when it is not migrated."""
    connection = connections[database_alias()]
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        yield fault("database", f"{connection.vendor} cannot be reached: {error}", "Start it, or correct DATABASES.")
        return
    yield ok("database", f"{connection.display_name} {'.'.join(map(str, connection.get_database_version()))} answers.")
    yield from _sqlite(connection) if connection.vendor == "sqlite" else _server(connection)
    if missing := _unapplied(connection):
        yield fault("migrations", f"Not applied: {', '.join(missing)}.", "Run manage.py migrate.")
        return
    yield ok("migrations", "All applied.")
    yield _clock(connection)
    yield _leases()


def reachable() -> bool:
    """Whether the database answers and has llmstream's tables as they are now."""
    try:
        return not _unapplied(connections[database_alias()])
    except DatabaseError:
        return False


def _unapplied(connection: BaseDatabaseWrapper) -> list[str]:
    executor = MigrationExecutor(connection)
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "llmstream"]
    return [str(migration) for migration, _ in executor.migration_plan(targets)]


def _sqlite(connection: BaseDatabaseWrapper) -> Iterator[Verdict]:
    told = False
    for message in sqlite_faults(connection.settings_dict.get("OPTIONS", {})):
        told = True
        yield fault("SQLite", message.msg, message.hint or "")
    mode, patience = _pragma(connection, "journal_mode"), int(_pragma(connection, "busy_timeout"))
    if str(mode).lower() != "wal" and not connection.is_in_memory_db():  # type: ignore[attr-defined]
        told = True
        seen = f"The file is in journal mode {mode}, whatever the options say."
        yield fault("SQLite", seen, "Keep the file on a local disk, and set journal_mode=WAL in init_command.")
    if patience < _BUSY_TIMEOUT:
        told = True
        seen = f"A writer gives up after {patience / 1000:g} s behind another one."
        yield warning("SQLite", seen, "Set OPTIONS['timeout'] to about 20 seconds.")
    if not told:
        yield ok("SQLite", f"WAL, IMMEDIATE transactions, {patience / 1000:g} s of patience.")


def _pragma(connection: BaseDatabaseWrapper, name: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {name}")
        return cursor.fetchone()[0]


def _server(connection: BaseDatabaseWrapper) -> Iterator[Verdict]:
    needed = get_settings().database_threads + 1
    faults = list(pool_faults(connection.settings_dict.get("OPTIONS", {})))
    for message in faults:
        yield warning("connection pool", message.msg, message.hint or "")
    if not faults:
        yield ok("connection pool", f"A process uses at most {needed} connections for llmstream.")
    if connection.vendor == "postgresql":
        yield _connections(connection, needed)


def _connections(connection: BaseDatabaseWrapper, needed: int) -> Verdict:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity"
            " WHERE backend_type = 'client backend'"
        )
        taken, limit = cursor.fetchone()
    seen = f"{taken} of the server's {limit} connections are taken."
    if taken <= limit * _CROWDED:
        return ok("connections", seen)
    fix = f"Raise max_connections, or have fewer processes: each takes up to {needed} for llmstream alone."
    return warning("connections", seen, fix)


def _clock(connection: BaseDatabaseWrapper) -> Verdict:
    rows = MigrationRecorder(connection).migration_qs.annotate(now=Now()).values_list("now", flat=True)
    before = datetime.now(UTC)
    told = rows[:1].get()
    after = datetime.now(UTC)
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    # What the question took is no skew.
    skew = max((told - after).total_seconds(), (before - told).total_seconds(), 0.0)
    seen = f"This host and the database differ by {skew:.2f} s."
    if skew <= _SKEW:
        return ok("clock", seen)
    fix = "Run a time service (NTP) on both: leases and times of messages go by the database, sessions by the host."
    return (fault if skew >= get_settings().lease else warning)("clock", seen, fix)


def _leases() -> Verdict:
    if not (count := lapsed().count()):
        return ok("leases", "No answer is without a process.")
    seen = f"{count} answers are at work in processes that give no sign of life."
    return warning("leases", seen, "Servers take them over within seconds; if none runs, manage.py llmstream_recover.")
