"""axe finds nothing to complain about: the widget in its states, light and dark, in Arabic, and the demo's pages."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from .conftest import NewWidget

#: All of its rules, best practices among them. It must not load the page's stylesheets again to know them.
OPTIONS: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}


def check(page: Page, state: str) -> None:
    """Let axe look at a page as it is now; its own doings are against the pages' content policy."""
    results = Axe().run(page, options=OPTIONS)
    assert results.violations_count == 0, f"{state}: {results.generate_report()}"


def test_the_widget_in_every_state(new_widget: NewWidget) -> None:
    widget = new_widget("agent", bypass_csp=True)
    expect(widget.chat.locator("[data-status=open]")).to_be_attached()
    check(widget.page, "empty")
    widget.send("Where to?")
    expect(widget.stop).to_be_visible()
    expect(widget.answer.get_by_role("button", name="Approve: book_table")).to_be_visible(timeout=30_000)
    check(widget.page, "a decision is needed")
    widget.send("Another one")
    expect(widget.chat.get_by_role("alert")).to_be_visible()
    for scheme in ("dark", "light"):
        widget.page.emulate_media(color_scheme=scheme)
        check(widget.page, f"an error, {scheme}")


@pytest.mark.parametrize("language", ["en", "ar"])
def test_an_answer_as_it_is_written_and_rated(new_widget: NewWidget, language: str) -> None:
    widget = new_widget(locale=language, bypass_csp=True)
    page = widget.page
    expect(widget.chat.locator(".llm-composer textarea")).to_be_visible()
    if language == "ar":
        page.evaluate("Object.assign(document.documentElement, {dir: 'rtl', lang: 'ar'})")
    page.set_viewport_size({"width": 390, "height": 800})
    box = widget.chat.locator(".llm-composer textarea")
    box.fill("Make a plan")
    box.press("Enter")
    expect(widget.text.locator("pre").first).to_be_visible()
    check(page, "as it is written")
    widget.ended()
    good = "إجابة جيدة" if language == "ar" else "Good answer"
    widget.answer.get_by_role("button", name=good).click()
    expect(widget.answer.locator(".llm-comment input")).to_be_visible()
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        check(page, f"rated, {scheme}")


def test_the_pages_of_the_demo(new_widget: NewWidget) -> None:
    page = new_widget(bypass_csp=True).page
    for path in ("/", "/chat/", "/rooms/", "/widget/", "/accounts/login/"):
        page.goto(path)
        check(page, path)
