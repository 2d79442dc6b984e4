"""Files in the widget: chosen, dropped and pasted, sent, shown, and taken along by an edit."""

from __future__ import annotations

import re

from playwright.sync_api import FilePayload, expect

from tests.demo.browsing import Console
from tests.files import png

from .browsing import Widget
from .conftest import NewWidget

PHOTO: FilePayload = {"name": "photo.png", "mimeType": "image/png", "buffer": png(8)}
NOTES: FilePayload = {"name": "notes <b>.txt", "mimeType": "text/plain", "buffer": b"Buy milk."}
HUGE: FilePayload = {"name": "huge.txt", "mimeType": "text/plain", "buffer": b"x" * 100_001}
#: Drops a file on the message box, or pastes it there.
HAND = """(box, type) => {
    const data = new DataTransfer();
    data.items.add(new File(["Hello"], `${type}.txt`, {type: "text/plain"}));
    const made = type === "drop" ? {dataTransfer: data} : {clipboardData: data};
    const event = type === "drop" ? new DragEvent(type, {bubbles: true, cancelable: true, ...made})
        : new ClipboardEvent(type, {bubbles: true, cancelable: true, ...made});
    box.dispatchEvent(event);
    return event.defaultPrevented;
}"""


def choose(widget: Widget, *files: FilePayload) -> None:
    """Press the button and choose files."""
    with widget.page.expect_file_chooser() as chooser:
        widget.chat.get_by_role("button", name="Attach files").click()
    chooser.value.set_files(list(files))


def attached(widget: Widget, *names: str) -> None:
    """Wait until these files are there to be sent, and no others."""
    files = widget.chat.get_by_role("list", name="Attached files")
    expect(files.locator("li bdi")).to_have_text(list(names))
    expect(files.get_by_role("progressbar")).to_have_count(0)


def test_files_are_sent_shown_and_taken_along_by_an_edit(new_widget: NewWidget) -> None:
    widget = new_widget("forgets")
    choose(widget, PHOTO, NOTES)
    attached(widget, "photo.png", "notes <b>.txt")
    expect(widget.box).to_be_focused()
    expect(widget.status).to_have_text(re.compile(r"^(photo\.png|notes <b>\.txt) is attached\.$"))
    widget.box.press("Enter")
    widget.ended()
    attached(widget)
    said = widget.chat.locator("article[data-role=user]")
    expect(said).to_have_count(1)
    expect(widget.text).to_have_text("Said: [Attached file photo.png: not sent]")

    def shown() -> None:
        expect(said.get_by_role("link")).to_have_count(2)
        picture = said.get_by_role("link", name="photo.png").locator("img")
        picture.evaluate("image => image.decode()")
        assert picture.evaluate("image => image.naturalWidth") == 8
        notes = said.get_by_role("link", name="notes <b>.txt")
        expect(notes.locator("img")).to_have_count(0)
        address = str(notes.get_attribute("href"))
        assert widget.page.evaluate("async address => (await fetch(address)).text()", address) == "Buy milk."

    shown()
    widget.page.reload()
    shown()
    said.hover()
    said.get_by_role("button", name="Edit").click()
    editor = widget.chat.get_by_role("textbox", name="Edit your message")
    editor.fill("What are these?")
    editor.press("Enter")
    expect(widget.text).to_contain_text("Said: What are these?")
    widget.ended()
    shown()


def test_files_are_dropped_pasted_removed_and_refused(new_widget: NewWidget) -> None:
    widget = new_widget("forgets")
    expect(widget.chat.get_by_role("button", name="Attach files")).to_be_visible()
    for way in ("drop", "paste"):
        assert widget.box.evaluate(HAND, way)
        expect(widget.status).to_have_text(f"{way}.txt is attached.")
    attached(widget, "drop.txt", "paste.txt")
    widget.chat.get_by_role("button", name="Remove drop.txt").click()
    expect(widget.status).to_have_text("drop.txt is removed.")
    expect(widget.box).to_be_focused()
    attached(widget, "paste.txt")
    choose(widget, HUGE)
    expect(widget.chat.get_by_role("alert")).to_contain_text("huge.txt: A file may have at most 100 kB.")
    attached(widget, "paste.txt")
    widget.box.fill("Look")
    widget.chat.get_by_role("button", name="Remove paste.txt").click()
    attached(widget)
    expect(widget.box).to_have_value("Look")


def test_what_files_need_is_loaded_when_the_server_is_back(new_widget: NewWidget, console: Console) -> None:
    console.allow("Failed to load resource", "WebSocket connection")
    widget = new_widget("forgets")
    button = widget.chat.get_by_role("button", name="Attach files")
    line = widget.chat.locator(".llm-connection")
    expect(button).to_be_visible()
    widget.page.route(re.compile(r"/chat/files[^/]*\.js"), lambda route: route.abort())
    widget.page.reload()
    expect(line).to_have_attribute("data-status", "open")
    expect(button).to_be_hidden()
    widget.page.unroute_all()
    widget.page.context.set_offline(True)
    expect(line).not_to_have_attribute("data-status", "open")
    widget.page.context.set_offline(False)
    expect(button).to_be_visible()
