"""Rooms: two people and a model in one conversation, in two browsers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.live.servers import LiveServer

from .browsing import RUNNING, Chat, Console, Room
from .conftest import VisitorFactory

# Two browsers and a server that comes and goes take their time on a busy machine.
pytestmark = pytest.mark.timeout(300)

Pair = tuple[Room, Room]


def open_room(alice: Chat, title: str = "Our room") -> str:
    """Alice opens a room with bob and is in it; return its address."""
    alice.page.goto("/rooms/")
    alice.page.get_by_label("Title").fill(title)
    expect(alice.page.get_by_label("bob")).to_be_checked()
    alice.page.get_by_role("button", name="Open the room").click()
    alice.page.wait_for_url("**/rooms/*/")
    expect(alice.page.get_by_role("heading", name=title)).to_be_visible()
    return alice.page.url


def live(chat: Chat) -> None:
    """Wait until the page is connected."""
    expect(chat.page.locator(".llm-connection-text")).to_have_text("Connected")


def person(chat: Chat, name: str) -> Locator:
    """Somebody in the list of people."""
    return chat.page.locator(f".llm-person[data-name={name}]")


@pytest.fixture
def meet(new_visitor: VisitorFactory) -> Callable[..., Pair]:
    """Bring alice and bob into one room."""

    def meet(base_url: str = "") -> Pair:
        visitors = (new_visitor(base_url).sign_in(name) for name in ("alice", "bob"))
        alice, bob = (Room(chat.page, chat.visitor) for chat in visitors)
        bob.page.goto(open_room(alice))
        for chat in (alice, bob):
            live(chat)
        return alice, bob

    return meet


@pytest.fixture
def pair(meet: Callable[..., Pair]) -> Pair:
    """Alice and bob in one room of the shared site."""
    return meet()


def test_both_see_who_is_here_and_on_how_many_devices(pair: Pair, new_visitor: VisitorFactory) -> None:
    alice, bob = pair
    for chat in pair:
        for name in ("alice", "bob"):
            expect(person(chat, name)).to_have_attribute("data-devices", "1")
    tab = bob.tab()
    live(tab)  # on the connection of the first one
    phone = new_visitor().sign_in("bob")
    phone.page.goto(bob.page.url)
    expect(person(alice, "bob")).to_contain_text("2 devices")
    phone.page.close()
    expect(person(alice, "bob")).to_have_attribute("data-devices", "1")
    tab.page.close()
    bob.page.goto("/rooms/")
    expect(person(alice, "bob")).to_have_attribute("data-devices", "0")


def test_each_sees_the_other_type(pair: Pair) -> None:
    alice, bob = pair
    bob.box.press_sequentially("Hm")
    expect(alice.page.get_by_text("bob is typing…")).to_be_visible()
    expect(bob.page.locator(".llm-typing")).to_be_empty()
    bob.box.fill("")
    expect(alice.page.locator(".llm-typing")).to_be_empty()


def test_the_answer_streams_to_both_and_either_stops_it(pair: Pair) -> None:
    alice, bob = pair
    alice.send("Tell us something", model="long")
    alice.grow()
    bob.grow()
    expect(bob.prompt).to_have_text("Tell us something")
    expect(bob.page.get_by_role("article", name="alice")).to_be_visible()
    bob.stop.click()
    assert alice.ended("stopped") == bob.ended("stopped") == alice.stored_text() != ""
    alice.page.get_by_role("button", name="Retry").click()
    bob.grow()
    bob.finish()
    assert alice.ended() == bob.ended() == alice.stored_text()


def test_everybody_sees_the_queue(pair: Pair) -> None:
    alice, bob = pair
    alice.send("First", model="long")
    alice.grow()
    bob.send("Second", model="scripted")
    bob.send("Third")
    for chat in pair:
        items = chat.page.get_by_role("region", name="Prompts that wait").get_by_role("listitem")
        expect(items).to_have_text(["bobSecondRemove", "bobThirdRemove"])
    alice.page.get_by_role("listitem").filter(has_text="Third").get_by_role("button").click()
    expect(bob.page.locator(".llm-queue li")).to_have_count(1)
    bob.stop.click()
    for chat in pair:
        expect(chat.page.locator(".llm-queue")).to_be_hidden()
        expect(chat.page.locator("article[data-role=user] .llm-body").nth(1)).to_have_text("Second")
        expect(chat.page.locator(RUNNING)).to_have_count(0)
    texts = [chat.page.locator("article .llm-body").all_text_contents() for chat in pair]
    assert texts[0] == texts[1]


def test_both_end_with_the_stored_text_after_a_crash(
    meet: Callable[..., Pair], mortal_site: LiveServer, console: Console
) -> None:
    console.allow("Failed to load resource", "ERR_", "WebSocket connection")
    alice, bob = meet(mortal_site.url)
    alice.send("Tell us something", model="long")
    alice.grow()
    bob.grow()
    mortal_site.kill()
    for chat in (alice, bob):
        expect(chat.page.locator(".llm-connection-text")).to_have_text("Reconnecting")
    bob.box.fill("Are you back?")
    bob.box.press("Enter")
    expect(bob.page.get_by_text("Sending…")).to_be_visible()
    mortal_site.start().wait_ready()
    expect(alice.page.locator("article[data-status=interrupted]")).to_have_count(1)
    expect(alice.prompt).to_have_text("Are you back?")
    assert alice.ended() == bob.ended() == alice.stored_text() != ""
    assert [message["role"] for message in bob.stored()] == ["user", "assistant"] * 2
    live(alice)
    expect(person(alice, "bob")).to_have_attribute("data-devices", "1")


def test_without_sockets_the_room_works_over_sse(pair: Pair) -> None:
    alice, bob = pair
    bob.page.add_init_script("delete globalThis.WebSocket")
    bob.page.reload()
    live(bob)
    assert bob.page.locator("llm-chat").evaluate("chat => chat.client.transport") == "sse"
    bob.send("Tell us something")
    assert alice.ended() == bob.ended() == alice.stored_text() != ""


def test_the_owner_invites_and_others_see_nothing(new_visitor: VisitorFactory, console: Console) -> None:
    console.allow("404")
    alice, bob = (new_visitor().sign_in(name) for name in ("alice", "bob"))
    alice.page.goto("/rooms/")
    alice.page.get_by_label("bob").uncheck()
    alice.page.get_by_label("Title").fill("Only me")
    alice.page.get_by_role("button", name="Open the room").click()
    alice.page.wait_for_url("**/rooms/*/")
    refused = bob.page.goto(alice.page.url)
    assert refused is not None
    assert refused.status == 404
    alice.page.get_by_label("Name of the person to invite").fill("bob")
    alice.page.get_by_role("button", name="Invite").click()
    expect(person(alice, "bob")).to_be_visible()
    bob.page.goto("/rooms/")
    bob.page.get_by_role("link", name="Only me").click()
    live(bob)
    expect(person(alice, "bob")).to_have_attribute("data-devices", "1")


def test_a_removed_member_is_told(pair: Pair, site: LiveServer) -> None:
    alice, bob = pair
    bob.visitor.console.allow("404", "403")
    bob_id = site.database.execute("SELECT id FROM auth_user WHERE username = 'bob'")[0][0]
    conversation = alice.page.url.rstrip("/").rpartition("/")[2]
    token = next(cookie["value"] for cookie in alice.visitor.context.cookies() if cookie["name"] == "csrftoken")
    removed = alice.page.request.delete(
        f"/llmstream/conversations/{conversation}/members/{bob_id}/", headers={"X-CSRFToken": token}
    )
    assert removed.status == 204
    expect(bob.page.get_by_role("alert")).to_contain_text("not there any more", timeout=65_000)


def test_a_room_fits_a_phone(new_visitor: VisitorFactory) -> None:
    chat = new_visitor(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True).sign_in()
    alice = Room(chat.page, chat.visitor)
    open_room(alice, "A room with a title that is much too long for a phone")
    alice.send("Tell us something")
    alice.ended()
    assert alice.page.evaluate("document.documentElement.scrollWidth") == 360


def test_names_are_never_markup(pair: Pair) -> None:
    alice, bob = pair
    alice.send("<img src=x onerror=alert(1)>", model="long")
    alice.grow()
    alice.send("<b>waits</b>")
    expect(bob.page.locator(".llm-queue span")).to_have_text("<b>waits</b>")
    prompts = bob.page.locator("article[data-role=user] .llm-body")
    expect(prompts).to_have_text(["<img src=x onerror=alert(1)>", "<b>waits</b>"])
    expect(bob.page.locator("main :is(img, b)")).to_have_count(0)
    alice.stop.click()
    # The button stays, and is the other answer's from now on.
    expect(alice.page.locator(".llm-queue")).to_be_hidden()
    alice.stop.click()
    expect(alice.stop).to_be_hidden()
