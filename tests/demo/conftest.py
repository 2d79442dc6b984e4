"""A demo site in a process of its own and a browser to visit it with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Browser, expect

from tests.live.forking import run
from tests.live.servers import ROOT, Database, LiveServer

from .browsing import Chat, Console, Visitor

SETTINGS = "tests.demo.settings"

VisitorFactory: TypeAlias = Callable[..., Visitor]

expect.set_options(timeout=15_000)


def demo_site(folder: Path, settings: str = SETTINGS) -> LiveServer:
    """A demo site that does not run yet, on a database of its own with the demo users in it."""
    url = f"sqlite:///{folder / 'db.sqlite3'}"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": settings, "DATABASE_URL": url}
    for command in (["migrate", "--verbosity=0"], ["demo_users"]):
        run(["django", *command], environment, ROOT)
    return LiveServer(
        "uvicorn",
        Database(url, {}),
        folder / "server.log",
        settings=settings,
        app="project.asgi:application",
        env={"DATABASE_URL": url},
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The demo site that most tests share."""
    server = demo_site(tmp_path_factory.mktemp("demo")).start().wait_ready()
    yield server
    server.kill()


@pytest.fixture
def mortal_site(tmp_path: Path) -> Iterator[LiveServer]:
    """A demo site that one test may kill and start again."""
    server = demo_site(tmp_path).start().wait_ready()
    yield server
    server.kill()


@pytest.fixture
def console() -> Iterator[Console]:
    """Fails the test when a page complained."""
    console = Console()
    yield console
    assert console.errors == []


@pytest.fixture
def new_visitor(browser: Browser, console: Console, request: pytest.FixtureRequest) -> Iterator[VisitorFactory]:
    """Make visitors of the shared site, or of ``base_url``, with a browser profile each."""
    visitors: list[Visitor] = []

    def make(base_url: str = "", **options: Any) -> Visitor:
        site: LiveServer | None = None if base_url else request.getfixturevalue("site")
        visitors.append(Visitor(browser, base_url or (site.url if site else ""), console, **options))
        return visitors[-1]

    yield make
    for visitor in visitors:
        visitor.context.close()


@pytest.fixture
def alice(new_visitor: VisitorFactory) -> Chat:
    """Alice in an empty chat of the shared site."""
    return new_visitor().sign_in("alice")
