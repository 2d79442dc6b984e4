"""The admin in a real browser, under the demo site's strict content policy."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .browsing import Chat
from .conftest import VisitorFactory

ADMIN = "/admin/llmstream/"
STAGE = "[data-show=text]"


def open_admin(new_visitor: VisitorFactory, path: str, *, base_url: str = "", **options: Any) -> Page:
    """Sign in as the superuser and open a page."""
    page = new_visitor(base_url, **options).open(f"/admin/login/?next={path}").page
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Log in").click()
    return page


def newest(page: Page) -> None:
    """Open the newest generation."""
    page.locator("#result_list tbody th a").first.click()


@pytest.fixture
def answer(alice: Chat) -> str:
    """What the newest answer of the site says."""
    alice.send("Tell me something")
    return alice.ended()


def test_a_recording_is_played_stepped_and_sought(answer: str, new_visitor: VisitorFactory) -> None:
    page = open_admin(new_visitor, f"{ADMIN}generation/")
    newest(page)
    page.get_by_role("link", name="Replay").click()
    page.locator("[data-state=ready]").wait_for()
    stage, position = page.locator(STAGE), page.get_by_role("slider", name="Position")
    expect(stage).to_be_empty()
    for _ in range(4):
        page.get_by_role("button", name="Forward").click()
    expect(position).to_have_value("4")
    expect(stage).not_to_be_empty()
    page.get_by_role("button", name="Back").click()
    expect(stage).to_be_empty()
    # It is over in half a second, and must not be before it is paused.
    page.clock.install(time=0)
    page.clock.pause_at(1_000)
    page.get_by_label("Speed").select_option("4")
    page.get_by_role("button", name="Play").click()
    expect(stage).not_to_be_empty()
    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Speed").select_option("0")
    page.get_by_role("button", name="Play").click()
    expect(stage).to_have_text(answer)
    expect(page.locator("[data-show=type]")).to_have_text("message-end")


def test_a_running_answer_is_followed_and_stopped(alice: Chat, new_visitor: VisitorFactory) -> None:
    alice.send("Tell me a lot", model="stalls")
    alice.grow()
    page = open_admin(new_visitor, f"{ADMIN}generation/?status__exact=running")
    newest(page)
    page.get_by_role("link", name="Follow").click()
    page.locator("[data-state=live]").wait_for()
    stage = page.locator(STAGE)
    expect(stage).to_have_text("It begins. ")
    page.go_back()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped: 1.")).to_be_visible()
    alice.ended("stopped")


@pytest.mark.parametrize("options", [{"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 800}}])
def test_no_page_offends_the_policy_or_overflows(
    options: dict[str, Any], answer: str, new_visitor: VisitorFactory
) -> None:
    page = open_admin(new_visitor, f"{ADMIN}conversation/", **options)
    page.locator("#result_list tbody th a").first.click()
    expect(page.locator(".llmstream-turn").last).to_contain_text(answer)
    for path in ("message/", "generation/", "event/", "usagerecord/", "generation/figures/"):
        page.goto(ADMIN + path)
        expect(page).to_have_title(re.compile("Django site admin"))
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
    expect(page.locator("svg rect").first).to_be_attached()
