"""What a visitor does on the demo site, in the words of the tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Locator, Page, expect

ANSWER = "article[data-role=assistant]"
RUNNING = f"{ANSWER}[data-status=running]"
# Gives the length of the newest answer once it is longer than what was seen before.
LONGER = """seen => {
    const answer = [...document.querySelectorAll("article[data-role=assistant]")].at(-1);
    const length = answer?.querySelector("[data-kind=text]")?.textContent.length ?? 0;
    return answer?.dataset.status === "running" && length > seen ? length : false;
}"""


@dataclass
class Console:
    """Collects what browsers complain about: failed scripts, failed requests, violations of the content policy."""

    errors: list[str] = field(default_factory=list)
    allowed: tuple[str, ...] = ()

    def watch(self, page: Page) -> None:
        """Listen to a page."""
        page.on("console", self._on_message)
        page.on("pageerror", self._on_error)

    def allow(self, *parts: str) -> None:
        """Do not mind messages that contain one of these."""
        self.allowed += parts

    def _on_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._add(message.text)

    def _on_error(self, error: Error) -> None:
        self._add(str(error))

    def _add(self, text: str) -> None:
        if not any(part in text for part in self.allowed):
            self.errors.append(text)


def stored(page: Page) -> list[dict[str, Any]]:
    """The messages of a page's conversation as the server has them."""
    conversation = page.url.rstrip("/").rpartition("/")[2]
    response = page.request.get(f"/llmstream/conversations/{conversation}/")
    assert response.ok, response.text()
    messages: list[dict[str, Any]] = response.json()["messages"]
    return messages


def finish(page: Page) -> None:
    """Let the newest answer of a page's conversation, which waits for that, come to its end."""
    response = page.request.get(f"/enough/{stored(page)[-1]['generation']}/")
    assert response.ok, response.text()


class Visitor:
    """One browser profile; its pages share cookies and storage."""

    def __init__(self, browser: Browser, base_url: str, console: Console, **options: Any) -> None:
        self.base_url = base_url
        self.console = console
        self.context: BrowserContext = browser.new_context(base_url=base_url, **options)

    def open(self, path: str = "/chat/") -> Chat:
        """Open an address in a new tab."""
        page = self.context.new_page()
        self.console.watch(page)
        page.goto(path)
        return Chat(page, self)

    def sign_in(self, name: str = "alice") -> Chat:
        """Become a demo user, as by the button for it, and land in an empty chat."""
        self.context.request.get("/accounts/login/")
        token = next(cookie["value"] for cookie in self.context.cookies() if cookie["name"] == "csrftoken")
        form: dict[str, str | float | bool] = {"user": name, "csrfmiddlewaretoken": token}
        response = self.context.request.post("/accounts/demo/", form=form, max_redirects=0)
        assert response.status == 302, response.text()
        return self.open()


class Chat:
    """One tab on the chat page."""

    def __init__(self, page: Page, visitor: Visitor) -> None:
        self.page = page
        self.visitor = visitor

    def tab(self) -> Chat:
        """Open the same address in another tab."""
        return self.visitor.open(self.page.url)

    @property
    def box(self) -> Locator:
        """The message box."""
        return self.page.get_by_role("textbox", name="Message")

    @property
    def stop(self) -> Locator:
        """The stop button, which is there while an answer runs."""
        return self.page.get_by_role("button", name="Stop the answer")

    @property
    def prompt(self) -> Locator:
        """The newest prompt's text on the page."""
        return self.page.locator("article[data-role=user] .body").last

    @property
    def answer(self) -> Locator:
        """The newest answer."""
        return self.page.locator(ANSWER).last

    @property
    def text(self) -> str:
        """The newest answer's text as it stands."""
        return self.answer.locator("[data-kind=text]").text_content() or ""

    def send(self, prompt: str, *, model: str = "") -> None:
        """Type a prompt and press Enter, after picking a model if one is given."""
        if model:
            self.page.get_by_label("Model").select_option(model)
        self.box.fill(prompt)
        self.box.press("Enter")

    def grow(self, seen: int = 0) -> int:
        """Wait until the running answer is longer than ``seen`` characters; return how long it is."""
        return int(self.page.wait_for_function(LONGER, arg=seen).json_value())

    def ended(self, status: str = "completed") -> str:
        """Wait until the newest answer has ended like this; return its text."""
        expect(self.answer).to_have_attribute("data-status", status, timeout=30_000)
        return self.text

    def finish(self) -> None:
        """Let the newest answer, which is one of the model ``long``, come to its end."""
        finish(self.page)

    def stored(self) -> list[dict[str, Any]]:
        """The messages of this conversation as the server has them."""
        return stored(self.page)

    def stored_text(self) -> str:
        """The newest message's text as the server has it."""
        return "".join(part["text"] for part in self.stored()[-1]["parts"] if part["type"] == "text")


# The same of the chat in a room, which is the widget.
LONGER_IN_ROOM = LONGER.replace("document.", 'document.querySelector("llm-chat").shadowRoot.').replace("kind", "type")


class Room(Chat):
    """One tab on a room's page."""

    def tab(self) -> Room:
        """Open the same address in another tab."""
        return Room(super().tab().page, self.visitor)

    @property
    def box(self) -> Locator:
        """The message box."""
        return self.page.locator("llm-chat").get_by_role("textbox", name="Message", exact=True)

    @property
    def prompt(self) -> Locator:
        """The newest prompt's text on the page."""
        return self.page.locator("article[data-role=user] .llm-body").last

    @property
    def text(self) -> str:
        """The newest answer's text as it stands."""
        return (self.answer.locator("[data-type=text]").text_content() or "").strip()

    def grow(self, seen: int = 0) -> int:
        """Wait until the running answer is longer than ``seen`` characters; return how long it is."""
        return int(self.page.wait_for_function(LONGER_IN_ROOM, arg=seen).json_value())

    def stored_text(self) -> str:
        """The newest message's text as the server has it, without the white space that Markdown drops."""
        return super().stored_text().strip()
