"""Thumbs on answers, and colours for their code: what is loaded after the rest."""

from __future__ import annotations

from playwright.sync_api import Route, expect

from tests.demo.browsing import Console

from .conftest import NewWidget

COLOURED = """() => {
    const found = [...(CSS.highlights.get("llm-kwd") ?? [])].map(String);
    return ["def", "return", "for", "in"].every(word => found.includes(word));
}"""


def test_an_answer_is_rated_by_keyboard_and_the_rating_stays(new_widget: NewWidget) -> None:
    widget = new_widget()
    requested: list[str] = []
    widget.page.on("request", lambda request: requested.append(request.url))
    widget.send("Make a plan")
    widget.ended()
    good, bad = (widget.answer.get_by_role("button", name=f"{name} answer") for name in ("Good", "Bad"))
    expect(good).to_have_attribute("aria-pressed", "false")
    good.press("Enter")
    expect(widget.status).to_have_text("Your rating is saved.")
    expect(good).to_be_focused()
    words = widget.answer.get_by_role("textbox", name="What should be known about it?")
    words.fill("Too long")
    bad.press("Enter")
    expect(bad).to_have_attribute("aria-pressed", "true")
    expect(good).to_have_attribute("aria-pressed", "false")
    words.fill("Too short")
    words.press("Enter")
    expect(words).to_have_count(0)
    expect(bad).to_be_focused()
    # Code got its colours, in the elements that it had.
    widget.page.wait_for_function(COLOURED)
    assert widget.text.locator("code :is(span, b)").count() == 0
    assert len([url for url in requested if "/languages/" in url]) == 1
    widget.page.reload()
    expect(bad).to_have_attribute("aria-pressed", "true")
    conversation = widget.page.url.rstrip("/").rpartition("/")[2]
    stored = widget.page.request.get(f"/llmstream/conversations/{conversation}/feedback/").json()["feedback"]
    assert list(stored.values()) == [{"rating": "down", "comment": "Too short"}]
    bad.press("Enter")
    expect(widget.status).to_have_text("Your rating is withdrawn.")
    expect(bad).to_have_attribute("aria-pressed", "false")


def test_a_rating_that_does_not_arrive_is_told_and_taken_back(new_widget: NewWidget, console: Console) -> None:
    console.allow("Failed to load resource")
    widget = new_widget("hostile")
    widget.send()
    widget.ended()
    widget.page.route("**/feedback/", lambda route: route.abort())
    good = widget.answer.get_by_role("button", name="Good answer")
    good.click()
    expect(widget.chat.get_by_role("alert")).to_have_text("The connection broke before the answer came.")
    expect(good).to_have_attribute("aria-pressed", "false")


def test_ratings_reach_the_server_in_their_order(new_widget: NewWidget) -> None:
    widget = new_widget("hostile")
    widget.send()
    widget.ended()
    held: list[Route] = []
    arrived: list[str] = []

    def hold_the_first(route: Route) -> None:
        arrived.append("up" if "up" in (route.request.post_data or "") else "down")
        if len(arrived) == 1:
            held.append(route)
        else:
            route.continue_()

    widget.page.route("**/messages/*/feedback/", hold_the_first)
    with widget.page.expect_request("**/messages/*/feedback/"):
        widget.answer.get_by_role("button", name="Good answer").press("Enter")
    bad = widget.answer.get_by_role("button", name="Bad answer")
    bad.press("Enter")
    expect(bad).to_have_attribute("aria-pressed", "true")
    assert arrived == ["up"]
    with widget.page.expect_response(lambda response: (response.request.post_data or "").find("down") > 0) as answer:
        held[0].continue_()
    assert answer.value.ok
    assert arrived == ["up", "down"]
