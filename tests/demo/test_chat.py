"""Chatting: what the page shows is what the server has stored, in every tab, through reloads."""

from __future__ import annotations

from playwright.sync_api import expect

from .browsing import RUNNING, Chat
from .conftest import VisitorFactory


def test_an_answer_appears_bit_by_bit_and_is_what_is_stored(alice: Chat) -> None:
    alice.send("Tell me something", model="long")
    lengths = [alice.grow()]
    while len(lengths) < 4:
        lengths.append(alice.grow(lengths[-1]))
    alice.finish()
    shown = alice.ended()
    assert len(shown) > lengths[-1]
    assert shown == alice.stored_text()
    expect(alice.page.locator("#status")).to_have_text("Answer complete.")
    expect(alice.page.locator("#connection")).to_have_text("Live")


def test_the_second_prompt_follows_the_first(alice: Chat) -> None:
    alice.send("First")
    alice.ended()
    alice.send("Second")
    expect(alice.page.locator("article")).to_have_count(4)
    alice.ended()
    assert [message["role"] for message in alice.stored()] == ["user", "assistant"] * 2
    expect(alice.page.get_by_role("navigation").get_by_role("link", name="First")).to_be_visible()


def test_a_reload_mid_answer_goes_on(alice: Chat) -> None:
    alice.send("Tell me something", model="long")
    seen = alice.grow()
    alice.page.reload()
    # The server put the text so far into the page itself.
    assert alice.grow(seen - 1) >= seen
    alice.grow(seen)
    alice.finish()
    assert alice.ended() == alice.stored_text()


def test_a_finished_conversation_is_there_after_a_reload(alice: Chat) -> None:
    alice.send("Tell me something")
    text = alice.ended()
    alice.page.reload()
    assert alice.ended() == text
    expect(alice.prompt).to_have_text("Tell me something")


def test_two_tabs_are_in_step(alice: Chat) -> None:
    alice.send("Tell me something", model="long")
    alice.grow()
    other = alice.tab()
    other.grow(alice.grow())
    alice.finish()
    assert alice.ended() == other.ended() == other.stored_text()
    other.send("And now from here")
    expect(alice.prompt).to_have_text("And now from here")
    assert alice.grow() > 0
    other.finish()
    assert other.ended() == alice.ended()


def test_another_tab_stops_the_answer(alice: Chat) -> None:
    alice.send("Tell me something", model="long")
    alice.grow()
    other = alice.tab()
    other.grow()
    other.stop.click()
    shown = alice.ended("stopped")
    assert shown == other.ended("stopped") == alice.stored_text() != ""
    expect(alice.stop).to_be_hidden()
    expect(alice.page.locator("#status")).to_have_text("Answer stopped.")


def test_a_stopped_answer_can_be_retried(alice: Chat) -> None:
    alice.send("Tell me something", model="long")
    alice.grow()
    alice.stop.click()
    alice.ended("stopped")
    alice.page.get_by_role("button", name="Retry").click()
    alice.grow()
    alice.finish()
    assert alice.ended() == alice.stored_text()
    expect(alice.page.locator("article")).to_have_count(2)


def test_a_prompt_is_edited_and_both_versions_can_be_seen(alice: Chat) -> None:
    alice.send("First version", model="thinks")
    alice.ended()
    alice.page.get_by_role("button", name="Edit").click()
    editor = alice.page.get_by_role("textbox", name="Edit your message")
    expect(editor).to_have_value("First version")
    editor.fill("Second version")
    editor.press("Enter")
    expect(alice.prompt).to_have_text("Second version")
    alice.ended()
    expect(alice.page.get_by_role("group", name="Version 2 of 2")).to_be_visible()
    alice.page.get_by_role("button", name="Previous version").click()
    expect(alice.prompt).to_have_text("First version")
    alice.page.get_by_role("button", name="Regenerate").click()
    expect(alice.answer.get_by_role("group", name="Version 2 of 2")).to_be_visible()
    alice.ended()
    assert len(alice.stored()) == 5


def test_a_failed_answer_says_so_and_keeps_its_text(alice: Chat) -> None:
    alice.send("Tell me something", model="cut")
    assert alice.ended("failed") == alice.stored_text() != ""
    expect(alice.answer.locator(".state")).to_contain_text("without finishing it")
    alice.page.reload()
    expect(alice.answer.locator(".state")).to_contain_text("without finishing it")
    expect(alice.page.get_by_role("button", name="Retry")).to_be_visible()


def test_reasoning_is_folded_away(alice: Chat) -> None:
    alice.send("Tell me something", model="thinks")
    assert alice.ended() == "Here it is."
    reasoning = alice.answer.get_by_text("Let me see.")
    expect(reasoning).to_be_hidden()
    alice.answer.get_by_text("Reasoning").click()
    expect(reasoning).to_be_visible()
    alice.page.reload()
    expect(alice.answer.get_by_text("Reasoning")).to_be_visible()
    expect(alice.page.get_by_label("Model")).to_have_value("thinks")


def test_a_tab_that_missed_the_news_is_told_that_an_answer_runs(alice: Chat) -> None:
    alice.visitor.console.allow("409", "ERR_FAILED")
    alice.send("First")
    alice.ended()
    other = alice.tab()
    other.page.route("**/events/**", lambda route: route.abort())
    other.page.reload()
    alice.send("Second", model="long")
    alice.grow()
    other.send("Third")
    expect(other.page.get_by_role("alert")).to_contain_text("already being generated")
    expect(other.box).to_have_value("Third")
    expect(other.stop).to_be_visible()
    other.stop.click()
    alice.ended("stopped")
    assert len(alice.stored()) == 4


def test_text_is_never_markup(alice: Chat) -> None:
    prompt = "<img src=x onerror=alert(1)> **<b>bold</b>** `<i>`\n\n```html\n<script>alert(2)</script>\n```"
    alice.send(prompt)
    body = alice.prompt
    expect(body).to_contain_text("<img src=x onerror=alert(1)>")
    expect(body.locator("pre code")).to_have_text("<script>alert(2)</script>")
    expect(body.locator("strong")).to_have_text("<b>bold</b>")
    expect(body.locator("img, script, b, i")).to_have_count(0)


def test_conversations_are_renamed_and_deleted(alice: Chat) -> None:
    alice.send("A title to change")
    alice.ended()
    alice.page.get_by_role("button", name="Rename").click()
    alice.page.get_by_label("Title").fill("Changed")
    alice.page.keyboard.press("Enter")
    link = alice.page.get_by_role("navigation").get_by_role("link", name="Changed")
    expect(link).to_be_visible()
    alice.page.reload()
    expect(alice.page.get_by_role("heading", name="Changed", level=1)).to_be_visible()
    alice.page.on("dialog", lambda dialog: dialog.accept())
    alice.page.get_by_role("button", name="Delete").click()
    alice.page.wait_for_url("/chat/")
    expect(link).to_have_count(0)


def test_nobody_sees_another_users_conversation(alice: Chat, new_visitor: VisitorFactory) -> None:
    alice.send("Mine")
    alice.ended()
    bob = new_visitor().sign_in("bob")
    bob.visitor.console.allow("404")
    response = bob.page.goto(alice.page.url)
    assert response is not None
    assert response.status == 404


def test_only_one_answer_runs_after_a_double_enter(alice: Chat) -> None:
    alice.page.get_by_label("Model").select_option("long")
    alice.box.fill("Once")
    alice.page.evaluate("""() => {
        const enter = () => new KeyboardEvent("keydown", {key: "Enter", bubbles: true, cancelable: true});
        const box = document.getElementById("composer-input");
        box.dispatchEvent(enter());
        box.dispatchEvent(enter());
    }""")
    alice.grow()
    expect(alice.page.locator(RUNNING)).to_have_count(1)
    alice.finish()
    alice.ended()
    assert len(alice.stored()) == 2
