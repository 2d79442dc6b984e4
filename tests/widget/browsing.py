"""What a reader does with the widget, in the words of the tests."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.demo.browsing import finish

RECORD = """() => {
    globalThis.heard = [];
    for (const type of ["llm-send", "llm-start", "llm-end", "llm-error"]) {
        addEventListener(type, ({detail}) => heard.push([type, detail]));
    }
    new MutationObserver(() => heard.push(["status", document.querySelector("llm-chat").shadowRoot
        .querySelector("[role=status]").textContent])).observe(
            document.querySelector("llm-chat").shadowRoot.querySelector("[role=status]"),
            {childList: true, characterData: true, subtree: true},
        );
}"""


class Widget:
    """A page with one ``<llm-chat>``; what is in its shadow is found like anything else."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.chat = page.locator("llm-chat")

    @property
    def box(self) -> Locator:
        """The message box."""
        return self.chat.get_by_role("textbox", name="Message", exact=True)

    @property
    def stop(self) -> Locator:
        """The stop button, which is there while an answer runs."""
        return self.chat.get_by_role("button", name="Stop the answer")

    @property
    def answer(self) -> Locator:
        """The newest answer."""
        return self.chat.locator("article[data-role=assistant]").last

    @property
    def text(self) -> Locator:
        """The newest answer's last text."""
        return self.answer.locator("[data-type=text]").last

    @property
    def status(self) -> Locator:
        """What is said to those who do not see."""
        return self.chat.get_by_role("status")

    def send(self, prompt: str = "Hello") -> None:
        """Type a prompt and press Enter."""
        self.box.fill(prompt)
        self.box.press("Enter")

    def finish(self) -> None:
        """Let the newest answer, which is one of the model ``held``, come to its end."""
        finish(self.page)

    def ended(self, status: str = "completed") -> None:
        """Wait until the newest answer has ended like this."""
        expect(self.answer).to_have_attribute("data-status", status, timeout=30_000)

    def record(self) -> None:
        """Keep what the element dispatches and says from now on; ``heard`` returns it."""
        expect(self.box).to_be_visible()
        self.page.evaluate(RECORD)

    def heard(self, *types: str) -> list[Any]:
        """What was dispatched of these types: type and detail."""
        found: list[Any] = self.page.evaluate("heard")
        return [entry for entry in found if entry[0] in types]
