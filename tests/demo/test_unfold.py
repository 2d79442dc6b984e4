"""The admin in Unfold's dress: the same pages, in its colours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.live.servers import Database, LiveServer

from .browsing import Console
from .conftest import VisitorFactory, demo_site
from .test_admin import ADMIN, STAGE, newest, open_admin


@pytest.fixture
def dressed_site(demo_template: Database, tmp_path: Path) -> Iterator[LiveServer]:
    """The demo site under Unfold."""
    server = demo_site(demo_template, tmp_path, "tests.demo.unfold").start().wait_ready()
    yield server
    server.kill()


def test_an_answer_is_found_replayed_and_drawn(
    dressed_site: LiveServer, new_visitor: VisitorFactory, console: Console
) -> None:
    alice = new_visitor(dressed_site.url).sign_in("alice")
    alice.send("Tell me something")
    said = alice.ended()
    page = open_admin(new_visitor, f"{ADMIN}generation/?owner=alice", base_url=dressed_site.url, color_scheme="dark")
    page.locator("html.dark").wait_for()
    newest(page)
    link = page.get_by_role("link", name="Replay")
    assert link.evaluate("link => getComputedStyle(link).borderTopWidth") == "1px"
    link.click()
    page.locator("[data-state=ready]").wait_for()
    page.get_by_label("Speed").select_option("0")
    page.get_by_role("button", name="Play").click()
    expect(page.locator(STAGE)).to_have_text(said)
    page.goto(f"{ADMIN}conversation/?owner=alice")
    newest(page)
    expect(page.locator(".llmstream-turn").last).to_contain_text(said)
    assert page.locator(".llmstream-turn a").first.evaluate("link => getComputedStyle(link).color") != page.locator(
        ".llmstream-turn header strong"
    ).first.evaluate("link => getComputedStyle(link).color")
    page.goto(f"{ADMIN}generation/figures/")
    fill = page.locator("svg rect").first.evaluate("rect => getComputedStyle(rect).fill")
    assert fill not in ("rgb(0, 0, 0)", "none")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
