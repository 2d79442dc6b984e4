"""The badge for replies that are ready, on other pages than the conversation's, and the page of operations."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.live.servers import LiveServer

from .conftest import VisitorFactory


def figure(page: Page, name: str, least: int) -> None:
    """Wait until a figure is there and at least so high."""
    number = page.locator(f"[data-figure={name}] dd")
    expect(number).to_have_text(re.compile(r"\d+"))
    page.wait_for_function("([e, least]) => Number(e.textContent) >= least", arg=[number.element_handle(), least])


def test_a_reply_that_becomes_ready_is_told_elsewhere_and_to_the_staff(
    mortal_site: LiveServer, new_visitor: VisitorFactory
) -> None:
    # Of its own: answers that other tests left at work become ready, too.
    url = mortal_site.url
    chief = new_visitor(url).open("/accounts/login/?next=/operations/").page
    chief.get_by_label("User name").fill("admin")
    chief.get_by_label("Password").fill("demo")
    chief.get_by_role("button", name="Sign in").click()
    expect(chief.locator("#connection")).to_have_text("live")
    alice, bob = (new_visitor(url).sign_in(name) for name in ("alice", "bob"))
    bob.page.goto("/")

    alice.send("Tell me", model="thinks")
    alice.page.wait_for_url("**/chat/*/")
    conversation = alice.page.url
    alice.ended()
    badge = alice.page.locator("#ready")
    alice.page.goto("/rooms/")
    phone = new_visitor(url).sign_in("alice")
    phone.page.goto(conversation)
    phone.send("Where to?", model="agent")
    expect(badge).to_have_text("A decision is wanted", timeout=30_000)
    figure(chief, "waiting", 1)
    expect(bob.page.locator("#ready")).to_be_hidden()
    badge.click()
    alice.page.wait_for_url(conversation)
    alice.page.goto("/")
    phone.answer.get_by_role("button", name="Approve").click()
    expect(badge).to_have_text("A reply is ready", timeout=30_000)
    figure(chief, "finished", 2)
    expect(chief.locator("#answers tr").first).to_contain_text("completed")
    badge.click()
    alice.page.wait_for_url(conversation)
    alice.page.goto("/rooms/")
    expect(badge).to_be_hidden()
