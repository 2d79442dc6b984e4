"""``<llm-chat>`` in a real browser, on a real server, under a strict content policy."""

from __future__ import annotations

from playwright.sync_api import Browser, StorageState, expect

from tests.demo.browsing import Console
from tests.live.servers import LiveServer

from .answers import HOSTILE, MARKDOWN
from .conftest import NewWidget

WHOLE = """async text => {
    const {renderMarkdown} = await import("/static/llmstream/chat/markdown.js");
    return renderMarkdown(text).innerHTML;
}"""
COMPOSE = """box => {
    for (const options of [{isComposing: true}, {keyCode: 229}]) {
        box.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true, cancelable: true, ...options}));
    }
}"""


def test_an_answer_streams_as_markdown_and_survives_a_reload(new_widget: NewWidget) -> None:
    widget = new_widget("held")
    widget.send("Make a plan")
    expect(widget.stop).to_be_visible()
    expect(widget.answer.get_by_role("heading", name="A plan")).to_be_visible()
    widget.page.reload()
    widget.finish()
    widget.ended()
    assert widget.text.inner_html() == widget.page.evaluate(WHOLE, MARKDOWN)
    expect(widget.chat.get_by_role("log")).to_have_attribute("aria-live", "off")
    # Alice's words are shown once, as she wrote them.
    expect(widget.chat.locator("article[data-role=user]")).to_have_count(1)
    expect(widget.chat.locator("article[data-role=user] .llm-body")).to_have_text("Make a plan")
    reasoning = widget.answer.locator("details[data-type=reasoning]")
    expect(reasoning.locator("em")).to_be_hidden()
    reasoning.locator("summary").click()
    expect(reasoning.locator("em")).to_have_text("see")


def test_what_a_model_writes_is_never_run_or_fetched(new_widget: NewWidget, site: LiveServer) -> None:
    widget = new_widget("hostile")
    fetched: list[str] = []
    widget.page.on("request", lambda request: fetched.append(request.url))
    widget.record()
    widget.send()
    widget.ended()
    assert widget.text.inner_html() == widget.page.evaluate(WHOLE, HOSTILE)
    assert widget.heard("status") == [["status", "An answer is being written."], ["status", "The answer is complete."]]
    assert widget.text.locator(":is(script, img, style, iframe, svg, [onerror], [style])").count() == 0
    assert widget.page.evaluate("globalThis.harmed") is None
    assert [url for url in fetched if "/harm" in url or not url.startswith((site.url, "ws:"))] == []


def test_without_javascript_the_transcript_is_there(
    browser: Browser, new_widget: NewWidget, alice: StorageState, site: LiveServer, console: Console
) -> None:
    widget = new_widget("hostile")
    widget.send("Who reads this?")
    widget.ended()
    context = browser.new_context(base_url=site.url, java_script_enabled=False, storage_state=alice)
    page = context.new_page()
    console.watch(page)
    page.goto(widget.page.url)
    expect(page.get_by_role("article", name="You")).to_contain_text("Who reads this?")
    expect(page.get_by_role("article", name="Assistant")).to_contain_text("<script>globalThis.harmed = true</script>")
    assert page.locator("llm-chat :is(img, style, iframe, svg)").count() == 0
    context.close()


def test_stop_then_retry_by_keyboard_alone(new_widget: NewWidget) -> None:
    widget = new_widget("stalls")
    widget.box.focus()
    widget.record()
    widget.page.keyboard.type("Go on")
    widget.page.keyboard.press("Shift+Enter")
    widget.page.keyboard.type("and on")
    widget.box.evaluate(COMPOSE)
    assert widget.heard("llm-send") == []
    widget.page.keyboard.press("Enter")
    expect(widget.text.locator("strong")).to_have_text("begins.")
    expect(widget.chat.get_by_role("log")).to_have_attribute("aria-busy", "true")
    expect(widget.chat.locator("article[data-role=user] .llm-body")).to_have_text("Go on\nand on")
    expect(widget.box).to_be_focused()
    widget.page.keyboard.press("Tab")
    expect(widget.stop).to_be_focused()
    widget.page.keyboard.press("Enter")
    widget.ended("stopped")
    # The button is gone, and focus back in the message box.
    expect(widget.box).to_be_focused()
    expect(widget.status).to_have_text("The answer was stopped.")
    expect(widget.text).to_have_text("It **begins.")
    widget.page.keyboard.press("F6")
    expect(widget.chat.get_by_role("group", name="Conversation")).to_be_focused()
    widget.answer.get_by_role("button", name="Retry").press("Enter")
    expect(widget.text.locator("strong")).to_have_text("begins.")
    widget.page.keyboard.press("F6")
    expect(widget.box).to_be_focused()
    widget.chat.evaluate("chat => chat.stop()")
    widget.ended("stopped")


def test_a_tool_waits_for_the_reader(new_widget: NewWidget) -> None:
    widget = new_widget("agent")
    widget.send("Where to?")
    tools = widget.answer.locator("[data-type=tool]")
    approve = tools.nth(2).get_by_role("button", name="Approve: book_table")
    expect(approve).to_be_visible(timeout=30_000)
    expect(tools.locator(".llm-tool-name")).to_have_text(["weather", "weather", "book_table"])
    expect(tools.nth(2)).to_contain_text("city: Lisbon")
    expect(widget.status).to_have_text("A decision is needed.")
    widget.page.reload()
    approve.click()
    widget.ended()
    expect(tools.nth(2).locator(".llm-tool-state")).to_have_text("Done · alice")
    expect(approve).to_be_hidden()
    expect(widget.answer).to_contain_text("A table for 2 in Lisbon is booked.")


def test_a_refusal_is_an_alert_and_the_text_comes_back(new_widget: NewWidget) -> None:
    widget = new_widget("stalls")
    widget.record()
    widget.send("First")
    expect(widget.stop).to_be_visible()
    widget.send("Second")
    expect(widget.chat.get_by_role("alert")).to_contain_text("answer")
    expect(widget.box).to_have_value("Second")
    assert [detail["code"] for _, detail in widget.heard("llm-error")] == ["generation_in_progress"]
    expect(widget.chat.locator("article[data-role=user]")).to_have_count(1)
    # What has not been sent is there after a reload.
    widget.page.reload()
    expect(widget.box).to_have_value("Second")
    widget.stop.click()
    widget.ended("stopped")


def test_what_is_sent_while_the_server_is_away_arrives_once(
    new_widget: NewWidget, site: LiveServer, console: Console
) -> None:
    console.allow("WebSocket connection", "ERR_CONNECTION_REFUSED", "Failed to load resource")
    widget = new_widget("hostile")
    line = widget.chat.locator(".llm-connection")
    expect(line).to_have_attribute("data-status", "open")
    # Tries that follow one another at once leave no wait long enough to tell of: the whole of it counts.
    widget.page.evaluate("Math.random = () => 0.05")
    site.kill()
    expect(line).to_have_attribute("data-status", "waiting")
    expect(widget.chat.get_by_role("button", name="Try now")).to_be_visible()
    widget.send("Are you there?")
    prompts = widget.chat.locator("article[data-role=user]")
    expect(prompts).to_have_attribute("data-status", "sending")
    expect(widget.status).to_have_text("The connection is lost. Reconnecting.")
    widget.record()
    site.start().wait_ready()
    widget.ended()
    expect(line).to_have_attribute("data-status", "open")
    expect(prompts).to_have_count(1)
    expect(prompts).to_have_attribute("data-status", "completed")
    assert ["status", "Connected again."] in widget.heard("status")


def test_the_transcript_follows_until_the_reader_scrolls_up(new_widget: NewWidget) -> None:
    widget = new_widget(viewport={"width": 800, "height": 500})
    widget.send()
    viewport = widget.chat.get_by_role("group", name="Conversation")
    at_end = "node => node.scrollHeight - node.clientHeight - node.scrollTop"
    latest = widget.chat.get_by_role("button", name="Latest")
    expect(widget.answer.get_by_role("table")).to_be_visible()
    viewport.hover()
    widget.page.mouse.wheel(0, -200)
    expect(latest).to_be_visible()
    widget.ended()
    assert viewport.evaluate(at_end) > 100
    latest.click()
    expect(latest).to_be_hidden()
    assert viewport.evaluate(at_end) <= 1


def test_the_element_is_driven_by_the_page(new_widget: NewWidget) -> None:
    widget = new_widget("hostile")
    widget.record()
    sent = widget.chat.evaluate("async chat => (await chat.send('From the page')).message.parts[0].text")
    assert sent == "From the page"
    widget.ended()
    state = widget.chat.evaluate("chat => [chat.state.messages.size, chat.room.id, chat.text]")
    assert state == [2, widget.page.url.rstrip("/").rpartition("/")[2], ""]
    assert [kind for kind, _ in widget.heard("llm-start", "llm-end")] == ["llm-start", "llm-end"]
    widget.page.evaluate("addEventListener('llm-send', event => event.preventDefault())")
    widget.send("Held back")
    expect(widget.box).to_have_value("Held back")
    # A second chat of the same conversation shares the connection and shows the same.
    widget.page.evaluate("""() => {
        const chat = document.createElement("llm-chat");
        const first = document.querySelector("llm-chat");
        for (const name of ["conversation", "api", "user"]) chat.setAttribute(name, first.getAttribute(name));
        first.after(chat);
    }""")
    expect(widget.page.locator("llm-chat").nth(1).locator("article")).to_have_count(2)
    same = "() => { const [a, b] = document.querySelectorAll('llm-chat'); return a.client === b.client; }"
    assert widget.page.evaluate(same)


def test_another_conversation_takes_the_place_of_the_first(new_widget: NewWidget) -> None:
    widget = new_widget("hostile")
    widget.send("The first one")
    widget.ended()
    first = widget.page.url.rstrip("/").rpartition("/")[2]
    widget.page.goto("/widget/")
    widget.page.get_by_role("button", name="New conversation").click()
    expect(widget.box).to_be_visible()
    expect(widget.chat.get_by_role("article")).to_have_count(0)
    widget.box.fill("Not for the other one")
    widget.chat.evaluate("(chat, id) => chat.setAttribute('conversation', id)", first)
    expect(widget.chat.get_by_role("article", name="You")).to_contain_text("The first one")
    expect(widget.box).to_have_value("")
