"""Fixtures of the chaos rig."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from .site import Services


@pytest.fixture(scope="package")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Databases, layer and templates for all runs."""
    with Services.running(tmp_path_factory.mktemp("services")) as services:
        yield services


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Let servers and crowds have as many connections as the machine allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a run leaves its files."""
    return tmp_path
