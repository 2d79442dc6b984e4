"""A demo site whose models write Markdown, and a browser to look at its page with the widget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Browser, BrowserContext, StorageState, expect

from tests.demo.browsing import Console
from tests.demo.conftest import demo_site
from tests.live.servers import Database, LiveServer

from .browsing import Widget

SETTINGS = "tests.widget.settings"

#: Makes a chat with a model on a page of its own.
NewWidget: TypeAlias = Callable[..., Widget]

expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def site(demo_template: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The site of all tests, with the demo users on it."""
    server = demo_site(demo_template, tmp_path_factory.mktemp("widget"), SETTINGS)
    yield server.start().wait_ready()
    server.kill()


@pytest.fixture(scope="module")
def alice(browser: Browser, site: LiveServer) -> StorageState:
    """The cookies of alice, signed in once a module."""
    context = browser.new_context(base_url=site.url)
    page = context.new_page()
    page.goto("/widget/")
    page.get_by_role("button", name="Continue as alice").click()
    page.wait_for_url("/widget/")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def console() -> Iterator[Console]:
    """Fails the test when a page complained, such as about the content policy."""
    console = Console()
    yield console
    assert console.errors == []


@pytest.fixture
def new_widget(browser: Browser, site: LiveServer, alice: StorageState, console: Console) -> Iterator[NewWidget]:
    """Make chats of alice's, each in a browser profile of its own."""
    contexts: list[BrowserContext] = []

    def make(model: str = "markdown", **options: Any) -> Widget:
        contexts.append(browser.new_context(base_url=site.url, storage_state=alice, **options))
        page = contexts[-1].new_page()
        console.watch(page)
        page.goto("/widget/")
        page.get_by_label("Model").select_option(model)
        page.get_by_role("button", name="New conversation").click()
        return Widget(page)

    yield make
    for context in contexts:
        context.close()
