"""The snippets of docs/client.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .browsing import ClientPage
from .site import Site
from .test_state import ANSWER, ASKED, ID, QUESTION

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "client.md"
SNIPPETS = re.findall(r"```javascript\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run(site: Site, page: ClientPage, containing: str, **names: Any) -> None:
    """Run the one snippet that contains a text, without waiting for its end; it finds ``names`` and the body."""
    (code,) = [snippet for snippet in SNIPPETS if containing in snippet]
    site.modules["/snippet.js"] = code
    page.page.evaluate(
        """names => {
            Object.assign(globalThis, names, {output: document.body, list: document.body});
            globalThis.done = import("/snippet.js");
        }""",
        names,
    )


def text(page: ClientPage, wanted: str) -> None:
    """Wait until the body shows a text."""
    page.wait(f"document.body.textContent === {wanted!r}")


def test_every_snippet_is_run_here() -> None:
    assert ["room.send" in snippet or "new Conversation" in snippet for snippet in SNIPPETS] == [True, True]


def test_the_first_snippet_streams_an_answer(site: Site, page: ClientPage) -> None:
    run(site, page, "room.send", conversationId="c")
    socket = site.socket()
    socket.admit()
    prompt = socket.frame("send")
    assert (prompt["room"], prompt["content"]) == ("c", "Hello")
    socket.send("ack", ref=prompt["ref"], message={}, generation={}, last_event_id=ID(0))
    page.page.evaluate("done")
    socket.event(ID(1), "text-delta", delta="Good ")
    socket.event(ID(2), "text-delta", delta="day")
    text(page, "Good day")


def test_the_second_snippet_shows_the_messages(site: Site, page: ClientPage) -> None:
    state = {"id": "c", "title": "", "model": "", "messages": [QUESTION], "generations": [], "last_event_id": ID(1)}
    run(site, page, "new Conversation", state=state)
    socket = site.socket()
    assert socket.admit()["last_event_id"] == ID(1)
    socket.send("event", room="c", id=ID(2), event=ASKED[1])
    delta = {"type": "text-delta", "message": ANSWER["id"], "generation": "g", "part": 0, "delta": "So."}
    socket.send("event", room="c", id=ID(3), event=delta)
    text(page, "user: Why?assistant: So.")
