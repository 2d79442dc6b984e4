"""Fixtures that the whole suite shares: servers and the database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from .services.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that lives as long as the run."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    request: pytest.FixtureRequest, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """With LLMSTREAM_TEST_DB=postgres, point the default database at this run's own server before it is created."""
    database = connections.settings["default"]
    if database["ENGINE"] == "django.db.backends.postgresql" and not database["PORT"]:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        database["PORT"] = server.port
