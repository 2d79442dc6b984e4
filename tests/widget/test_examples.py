"""The examples of the demo in a browser: each works, and none offends the content policy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from tests.demo.browsing import Console
from tests.live.servers import LiveServer

from .conftest import NewWidget

ANSWER = "article[data-role=assistant]"


@pytest.fixture
def page(
    browser: Browser, site: LiveServer, alice: StorageState, console: Console, request: pytest.FixtureRequest
) -> Iterator[Page]:
    """A page of alice's that must not complain; with ``False`` as its parameter it runs no script."""
    scripts = getattr(request, "param", True)
    context = browser.new_context(base_url=site.url, storage_state=alice, java_script_enabled=scripts)
    page = context.new_page()
    console.watch(page)
    yield page
    context.close()


def ended(page: Page) -> None:
    """Wait for a rendered answer, complete."""
    expect(page.locator(ANSWER).last).to_have_attribute("data-status", "completed", timeout=30_000)
    expect(page.locator(ANSWER).last.get_by_role("heading", name="A plan")).to_be_visible()


def test_a_chat_in_the_corner_of_a_page(page: Page) -> None:
    page.goto("/examples/bubble/")
    page.get_by_role("button", name="New conversation").click()
    box = page.locator("llm-chat").get_by_role("textbox", name="Message", exact=True)
    expect(box).to_be_hidden()
    page.locator("summary").first.click()
    box.fill("Make a plan")
    box.press("Enter")
    ended(page)


def test_a_page_with_htmx(page: Page) -> None:
    page.goto("/examples/htmx/")
    page.get_by_role("button", name="New conversation").click()
    page.get_by_label("Message").fill("Make a plan")
    page.get_by_role("button", name="Send").click()
    ended(page)


@pytest.mark.parametrize("page", [False], indirect=True)
def test_a_page_without_scripts(page: Page) -> None:
    page.goto("/examples/server/")
    page.get_by_role("button", name="New conversation").click()
    page.get_by_label("Message").fill("Make a plan")
    page.get_by_label("Model").select_option("stalls")
    page.get_by_role("button", name="Send").click(no_wait_after=True)
    expect(page.locator(f"{ANSWER}.llm-live")).to_contain_text("It **begins.")
    page.get_by_role("button", name="Stop the answer").click()
    expect(page.locator(ANSWER)).to_have_attribute("data-status", "stopped")
    page.get_by_label("Message").fill("Make a plan")
    page.get_by_label("Model").select_option("markdown")
    page.get_by_role("button", name="Send").click(no_wait_after=True)
    ended(page)
    # What was streamed has given way to what it has become.
    expect(page.locator(f"{ANSWER}.llm-live")).to_be_hidden()
    expect(page.get_by_role("button", name="Stop the answer")).to_be_hidden()


@pytest.mark.parametrize("page", [False], indirect=True)
def test_the_widget_leads_to_that_page_where_no_script_runs(page: Page) -> None:
    page.goto("/widget/")
    page.get_by_role("button", name="New conversation").click()
    page.get_by_label("Message").fill("Make a plan")
    page.get_by_role("button", name="Send").click(no_wait_after=True)
    page.wait_for_url("**/page/", wait_until="commit")
    ended(page)


def test_formulas_are_shown_once_an_answer_has_ended(new_widget: NewWidget) -> None:
    widget = new_widget("formulas")
    asked: list[str] = []
    widget.page.on("request", lambda request: asked.append(request.url) if "formulas" in request.url else None)
    widget.send("Teach me")
    widget.ended()
    expect(widget.text.locator("math")).to_have_count(4)
    expect(widget.text.locator("math[display=block] mfrac")).to_have_count(1)
    expect(widget.text).to_contain_text("for $5 and")
    expect(widget.text.locator("li math")).to_have_count(1)
    expect(widget.text.locator("code")).to_have_text("$code$")
    assert len([url for url in asked if url.endswith("/formulas/")]) == 1


def test_without_formulas_nothing_is_asked_for(new_widget: NewWidget) -> None:
    widget = new_widget()
    asked: list[str] = []
    widget.page.on("request", lambda request: asked.append(request.url) if "formulas" in request.url else None)
    widget.send("Make a plan")
    widget.ended()
    assert asked == []
