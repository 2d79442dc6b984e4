"""The demo's agent: its tools at work, and the buttons on which it waits."""

from __future__ import annotations

from playwright.sync_api import expect

from .browsing import Chat


def ended(chat: Chat, status: str = "completed") -> None:
    """Wait until the newest answer, which has several texts, has ended like this."""
    expect(chat.answer).to_have_attribute("data-status", status, timeout=30_000)


def test_an_agent_shows_its_tools_and_waits_for_approval(alice: Chat) -> None:
    alice.send("Where to?", model="agent")
    tools = alice.answer.locator("[data-kind=tool]")
    approve = tools.nth(2).get_by_role("button", name="Approve")
    expect(approve).to_be_visible(timeout=30_000)
    expect(tools.locator(".name")).to_have_text(["weather", "weather", "book_table"])
    expect(tools.nth(0)).to_have_attribute("data-state", "done")
    expect(alice.answer.locator("[data-kind=data]")).to_have_count(2)
    expect(tools.nth(2).locator(".input")).to_contain_text("Lisbon")
    other = alice.tab()
    other.answer.get_by_role("button", name="Approve").click()
    ended(alice)
    expect(tools.nth(2)).to_have_attribute("data-state", "done")
    expect(tools.nth(2).locator(".tool-state")).to_have_text("Done, approved by alice")
    expect(approve).to_be_hidden()
    expect(alice.answer).to_contain_text("A table for 2 in Lisbon is booked.")
    assert "".join(alice.answer.locator("[data-kind=text]").all_text_contents()) == alice.stored_text().replace(
        "\n", ""
    )


def test_a_denial_is_told_to_the_agent(alice: Chat) -> None:
    alice.send("Where to?", model="agent")
    alice.answer.get_by_role("button", name="Deny").click(timeout=30_000)
    ended(alice)
    last = alice.answer.locator("[data-kind=tool]").nth(2)
    expect(last.locator(".tool-state")).to_have_text("Denied by alice")
    expect(alice.answer).to_contain_text("tool_denied")


def test_what_waits_can_be_stopped_after_a_reload(alice: Chat) -> None:
    alice.send("Where to?", model="agent")
    expect(alice.answer.get_by_role("button", name="Deny")).to_be_visible(timeout=30_000)
    alice.page.reload()
    expect(alice.answer.get_by_role("button", name="Deny")).to_be_visible()
    alice.stop.click()
    ended(alice, "stopped")
    expect(alice.answer.get_by_role("button", name="Deny")).to_be_hidden()
