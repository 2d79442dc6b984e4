"""A demo site in a process of its own and a browser to visit it with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Browser, expect

from tests.live.servers import Database, LiveServer, copy_sqlite

from .browsing import Chat, Console, Visitor

SETTINGS = "tests.demo.settings"

VisitorFactory: TypeAlias = Callable[..., Visitor]

expect.set_options(timeout=30_000)


def demo_site(template: Database, folder: Path, settings: str = SETTINGS) -> LiveServer:
    """A demo site that does not run yet, on a database of its own with the demo users in it."""
    database = copy_sqlite(template, folder / "db.sqlite3")
    log, env = folder / "server.log", {"DATABASE_URL": database.url}
    return LiveServer("uvicorn", database, log, settings=settings, app="project.asgi:application", env=env)


@pytest.fixture(scope="session")
def site(demo_template: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The demo site that most tests share."""
    server = demo_site(demo_template, tmp_path_factory.mktemp("demo")).start().wait_ready()
    yield server
    server.kill()


@pytest.fixture
def mortal_site(demo_template: Database, tmp_path: Path) -> Iterator[LiveServer]:
    """A demo site of one test, which may kill it and start it again."""
    server = demo_site(demo_template, tmp_path).start().wait_ready()
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
