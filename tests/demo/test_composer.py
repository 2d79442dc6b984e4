"""The message box and the transcript's scrolling."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from .browsing import Chat

#: There is something to scroll back to.
LONG = """() => {
    const view = document.getElementById("transcript");
    return view.scrollHeight - view.clientHeight > 200;
}"""
#: A wheel is heard before it moves anything, and a scroll event of what the page has scrolled itself may come after it.
WHEEL = """() => {
    const transcript = document.querySelector("#transcript");
    transcript.dispatchEvent(new WheelEvent("wheel", {deltaY: -120}));
    transcript.dispatchEvent(new Event("scroll"));
    return document.querySelector("#to-end").hidden;
}"""
SCROLL = "document.getElementById('transcript').scrollTop"
AT_END = """() => {
    const view = document.getElementById("transcript");
    return view.scrollHeight > view.clientHeight && view.scrollHeight - view.clientHeight - view.scrollTop <= 1;
}"""


def test_shift_enter_makes_a_new_line_and_enter_sends(alice: Chat) -> None:
    alice.box.press_sequentially("one")
    alice.box.press("Shift+Enter")
    alice.box.press_sequentially("two")
    expect(alice.box).to_have_value("one\ntwo")
    alice.box.press("Enter")
    expect(alice.prompt).to_have_text("one\ntwo")
    expect(alice.box).to_be_focused()
    expect(alice.box).to_have_value("")


def test_enter_of_an_input_method_does_not_send(alice: Chat) -> None:
    alice.box.fill("にほん")
    prevented = alice.page.evaluate("""() => [{isComposing: true}, {keyCode: 229}].map(how => {
        const enter = new KeyboardEvent("keydown", {key: "Enter", cancelable: true, ...how});
        return !document.getElementById("composer-input").dispatchEvent(enter);
    })""")
    assert prevented == [False, False]
    expect(alice.box).to_have_value("にほん")


def test_a_draft_survives_a_reload_and_is_gone_once_sent(alice: Chat) -> None:
    alice.box.press_sequentially("half a thought")
    alice.page.reload()
    expect(alice.box).to_have_value("half a thought")
    alice.box.press("Enter")
    alice.ended()
    alice.page.goto("/chat/")
    expect(alice.box).to_have_value("")


def scrolling(alice: Chat) -> Page:
    """A small page at the end of an answer that grows and is longer than the page."""
    page = alice.page
    page.set_viewport_size({"width": 500, "height": 420})
    alice.send("Tell me something", model="long")
    page.wait_for_function(LONG)
    page.wait_for_function(AT_END)
    return page


def test_the_end_stays_in_view_until_the_reader_scrolls_up(alice: Chat) -> None:
    page = scrolling(alice)
    page.locator("#transcript").hover()
    page.mouse.wheel(0, -120)
    expect(page.get_by_role("button", name="Latest")).to_be_visible()
    before = page.evaluate(SCROLL)
    alice.grow(alice.grow())
    assert page.evaluate(SCROLL) <= before
    page.get_by_role("button", name="Latest").click()
    page.wait_for_function(AT_END)
    alice.stop.click()
    alice.ended("stopped")
    page.wait_for_function(AT_END)
    expect(page.get_by_role("button", name="Latest")).to_be_hidden()


def test_a_wheel_lets_go_before_it_has_moved_anything(alice: Chat) -> None:
    page = scrolling(alice)
    assert page.evaluate(WHEEL) is False
    before = page.evaluate(SCROLL)
    alice.grow(alice.grow())
    assert page.evaluate(SCROLL) == before
    page.get_by_role("button", name="Latest").click()
    page.wait_for_function(AT_END)
    alice.stop.click()
    alice.ended("stopped")


def test_the_transcript_is_a_quiet_log(alice: Chat) -> None:
    """A screen reader must not read every token: one status line says what happens."""
    expect(alice.page.get_by_role("log")).to_have_attribute("aria-live", "off")
    alice.send("Tell me something")
    alice.ended()
    expect(alice.page.get_by_role("status")).to_have_text("Answer complete.")
    expect(alice.page.get_by_role("article", name="You")).to_be_visible()
