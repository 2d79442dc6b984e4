"""The demo's modules by themselves, in the browser: the store's rules and the text's rendering."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from .conftest import VisitorFactory

ID = "c.1.00000000000{}"
MESSAGE: dict[str, Any] = {
    "id": "m",
    "role": "assistant",
    "parts": [],
    "parent": None,
    "status": "running",
    "generation": "g",
}
RUN_STORE = """async ({state, events}) => {
    const {Store, plainText} = await import("/static/demo/store.js");
    const store = new Store();
    let mismatches = 0;
    store.addEventListener("mismatch", () => mismatches++);
    store.load(state);
    for (const [event, id] of events) store.apply(event, id);
    return {
        texts: store.branch.map(plainText),
        last: store.lastEventId,
        active: store.active?.status ?? null,
        mismatches,
    };
}"""
SHOW = """async texts => {
    const {showText} = await import("/static/demo/text.js");
    const body = document.createElement("div");
    for (const text of texts) showText(body, text);
    return body.innerHTML;
}"""


@pytest.fixture
def page(new_visitor: VisitorFactory) -> Page:
    """A page of the site's origin."""
    return new_visitor().open("/").page


def snapshot(seq: int, text: str = "") -> dict[str, Any]:
    """A conversation with one running answer."""
    return {
        "type": "snapshot",
        "conversation": {"id": "c", "title": "", "model": ""},
        "messages": [{**MESSAGE, "parts": [{"type": "text", "text": text}] if text else []}],
        "generations": [{"id": "g", "message": "m", "status": "running", "model": "x"}],
        "last_event_id": ID.format(seq),
    }


def delta(text: str) -> dict[str, Any]:
    """A piece of the answer."""
    return {"type": "text-delta", "message": "m", "generation": "g", "part": 0, "delta": text}


def end(**values: Any) -> dict[str, Any]:
    """The answer's end."""
    return {"type": "message-end", "message": "m", "generation": "g", "status": "completed", **values}


def run(page: Page, *events: tuple[dict[str, Any], str], state: dict[str, Any] | None = None) -> dict[str, Any]:
    """Apply events to a state; return what the store holds then."""
    result: dict[str, Any] = page.evaluate(RUN_STORE, {"state": state or snapshot(3, "a"), "events": list(events)})
    return result


def test_what_was_applied_before_is_ignored(page: Page) -> None:
    result = run(page, (delta("b"), ID.format(4)), (delta("b"), ID.format(4)), (delta("a"), ID.format(3)))
    assert result["texts"] == ["ab"]
    assert result["last"] == ID.format(4)


def test_a_snapshot_replaces_everything(page: Page) -> None:
    result = run(page, (delta("b"), ID.format(4)), (snapshot(2, "x"), ID.format(2)), (delta("y"), ID.format(3)))
    assert result["texts"] == ["xy"]


def test_the_end_checks_the_length_in_code_points(page: Page) -> None:
    whole = run(page, (delta("\U0001f308é"), ID.format(4)), (end(text_length=3), ID.format(5)))
    assert (whole["mismatches"], whole["active"]) == (0, None)
    assert run(page, (end(text_length=3), ID.format(5)))["mismatches"] == 1


def test_only_the_newest_branch_is_shown(page: Page) -> None:
    question = {**MESSAGE, "id": "q", "role": "user", "status": "completed", "generation": None}
    answers = [{**MESSAGE, "id": name, "parent": "q", "generation": None} for name in ("old", "new")]
    for message in (question, *answers):
        message["parts"] = [{"type": "text", "text": message["id"]}]
    state = {**snapshot(3), "messages": [question, *answers], "generations": []}
    assert run(page, state=state)["texts"] == ["q", "new"]


def test_a_queued_answer_counts_as_active(page: Page) -> None:
    created = {"type": "message-created", "message": {**MESSAGE, "id": "n", "generation": "h"}}
    result = run(page, (created, ID.format(4)), state={**snapshot(3), "messages": [], "generations": []})
    assert result["active"] == "queued"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("one\ntwo\n\nthree", '<p dir="auto">one\ntwo</p><p dir="auto">three</p>'),
        ("# Title #\ntext", '<h3 dir="auto">Title</h3><p dir="auto">text</p>'),
        ("a `b*c` **d**", '<p dir="auto">a <code>b*c</code> <strong>d</strong></p>'),
        (
            "```py\nx = '```'\n```\nend",
            '<div class="code"><span class="language">py</span>'
            """<pre dir="ltr" tabindex="0"><code>x = '```'</code></pre></div><p dir="auto">end</p>""",
        ),
        ("~~~\n<b>", '<div class="code"><pre dir="ltr" tabindex="0"><code>&lt;b&gt;</code></pre></div>'),
        ("<img src=x onerror=y>", '<p dir="auto">&lt;img src=x onerror=y&gt;</p>'),
    ],
)
def test_text_looks_the_same_however_it_arrived(page: Page, text: str, html: str) -> None:
    assert page.evaluate(SHOW, [text]) == html
    assert page.evaluate(SHOW, [text[:length] for length in range(len(text) + 1)]) == html
