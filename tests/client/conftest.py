"""A scripted site, and a page on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.demo.browsing import Console

from .browsing import ClientPage
from .site import Site


@pytest.fixture(scope="session")
def scripted_site() -> Iterator[Site]:
    """The site of all tests."""
    with Site() as site:
        yield site


@pytest.fixture
def site(scripted_site: Site) -> Iterator[Site]:
    """The site, which accepts sockets; a test takes everything that comes."""
    scripted_site.handshakes = "accept"
    yield scripted_site
    scripted_site.forget()


@pytest.fixture
def console() -> Iterator[Console]:
    """Fails the test when the page complained, such as about the content policy."""
    console = Console(allowed=("WebSocket connection to", "Failed to load resource"))
    yield console
    assert console.errors == []


@pytest.fixture
def page(browser: Browser, site: Site, console: Console) -> Iterator[ClientPage]:
    """A page without a client yet."""
    context = browser.new_context(base_url=site.url)
    page = context.new_page()
    console.watch(page)
    page.goto("/")
    yield ClientPage(page)
    context.close()
