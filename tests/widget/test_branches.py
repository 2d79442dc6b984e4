"""Branches in the widget: written anew, edited, chosen; the same one in every tab."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.demo.browsing import Console

from .browsing import Widget
from .conftest import NewWidget

#: Escape and Enter as they end an input method's composition.
COMPOSE = """box => {
    for (const key of ["Enter", "Escape"]) for (const options of [{isComposing: true}, {keyCode: 229}]) {
        box.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true, ...options}));
    }
}"""


def another_tab(widget: Widget, console: Console) -> Widget:
    """Open the conversation in a second tab of the same browser, over the other transport."""
    page = widget.page.context.new_page()
    console.watch(page)
    page.goto(widget.page.url)
    tab = Widget(page)
    expect(tab.box).to_be_visible()
    tab.chat.evaluate("""chat => {
        const other = document.createElement("llm-chat");
        for (const {name, value} of chat.attributes) other.setAttribute(name, value);
        other.setAttribute("transport", "sse");
        chat.replaceWith(other);
    }""")
    expect(tab.chat.locator(".llm-connection")).to_have_attribute("data-status", "open")
    return tab


def shows(widget: Widget, *texts: str) -> None:
    """Wait until these are the messages on the page, and no others."""
    expect(widget.chat.locator("article .llm-body")).to_have_text(list(texts))


def test_an_answer_is_written_anew_and_every_tab_shows_the_version_that_is_chosen(
    new_widget: NewWidget, console: Console
) -> None:
    widget = new_widget("forgets")
    widget.send("One")
    widget.ended()
    widget.send("Two")
    widget.ended()
    tab = another_tab(widget, console)
    # Of what the model was not sent a line tells.
    expect(tab.answer).to_contain_text("Turns left out of the history: 2")
    shows(tab, "One", "Said: One", "Two", "Said: Two")
    first = widget.chat.locator("article[data-role=assistant]").first
    expect(first.get_by_role("group", name="Version")).to_be_hidden()
    first.get_by_role("button", name="Regenerate").press("Enter")
    versions = widget.answer.get_by_role("group", name="Version 2 of 2")
    expect(versions).to_have_text("‹2 / 2›")
    for page in (widget, tab):
        page.ended()
        shows(page, "One", "Said: One")
    versions.get_by_role("button", name="Next version").press("Enter")
    previous = versions.get_by_role("button", name="Previous version")
    previous.focus()
    widget.page.keyboard.press("Enter")
    for page in (widget, tab):
        expect(page.status).to_have_text("Another version is shown.")
        shows(page, "One", "Said: One", "Two", "Said: Two")
    # Focus is where it was, on a button that leads no further.
    previous = first.get_by_role("button", name="Previous version")
    expect(previous).to_be_focused()
    expect(previous).to_have_attribute("aria-disabled", "true")
    expect(first.get_by_role("group", name="Version 1 of 2")).to_be_visible()
    tab.chat.get_by_role("button", name="Next version").click()
    shows(widget, "One", "Said: One")
    # Its button has gone with its message.
    expect(widget.chat.get_by_role("group", name="Conversation")).to_be_focused()
    widget.page.reload()
    shows(widget, "One", "Said: One")
    widget.send("Three")
    widget.ended()
    shows(tab, "One", "Said: One", "Three", "Said: Three")


def test_a_message_is_edited_in_its_place_by_keyboard_alone(new_widget: NewWidget, console: Console) -> None:
    widget = new_widget("forgets")
    widget.send("One")
    widget.ended()
    tab = another_tab(widget, console)
    question = widget.chat.locator("article[data-role=user]").first
    edit = question.get_by_role("button", name="Edit")
    editor = question.get_by_role("textbox", name="Edit your message")
    edit.focus()
    widget.page.keyboard.press("Enter")
    expect(editor).to_be_focused()
    expect(editor).to_have_value("One")
    widget.page.keyboard.type(" and a half")
    editor.evaluate(COMPOSE)
    expect(editor).to_have_value("One and a half")
    widget.page.keyboard.press("Escape")
    expect(edit).to_be_focused()
    expect(editor).to_have_count(0)
    shows(widget, "One", "Said: One")
    widget.record()
    widget.page.keyboard.press("Enter")
    widget.page.keyboard.type(", or")
    widget.page.keyboard.press("Shift+Enter")
    widget.page.keyboard.type("two")
    widget.page.keyboard.press("Enter")
    widget.ended()
    expect(widget.box).to_be_focused()
    for page in (widget, tab):
        shows(page, "One, or\ntwo", "Said: One, or\ntwo")
        expect(page.chat.get_by_role("group", name="Version 2 of 2")).to_be_visible()
    [[_, sent]] = widget.heard("llm-send")
    assert sent["text"] == "One, or\ntwo"
    assert sent["edits"] == widget.chat.evaluate("chat => [...chat.state.messages.keys()][0]")
    # What is not taken stays in the editor.
    widget.page.evaluate("addEventListener('llm-send', event => event.preventDefault())")
    question.get_by_role("button", name="Edit").click()
    editor.fill("Held back")
    editor.press("Enter")
    expect(editor).to_have_value("Held back")
    question.get_by_role("button", name="Cancel").click()
    shows(widget, "One, or\ntwo", "Said: One, or\ntwo")
