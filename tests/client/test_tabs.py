"""Tabs of one browser: they share a connection, and nobody loses or doubles anything when the one that has it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.demo.browsing import Console

from .browsing import ClientPage
from .site import PATIENCE, Request, Site, Socket

ID = "c.1.{:012d}".format
#: Opens tabs of one browser with a client each.
Open: TypeAlias = Callable[..., ClientPage]


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    """A browser of its own."""
    context = browser.new_context(base_url=site.url)
    yield context
    context.close()


@pytest.fixture
def new_tab(context: BrowserContext, console: Console) -> Open:
    """Open a tab, and follow a room in it if told so."""

    def open_tab(room: str = "", last: str = "", **options: Any) -> ClientPage:
        page = context.new_page()
        console.watch(page)
        page.goto("/")
        tab = ClientPage(page)
        tab.start(**options)
        if room:
            tab.join(room, **({"lastEventId": last} if last else {}))
        return tab

    return open_tab


def catch_up(site: Site, after: str, *events: tuple[str, str], room: str = "c") -> Request:
    """Answer the question of a tab for what it has missed since an event: ids and texts."""
    request = site.request()
    assert request.path == f"/llmstream/conversations/{room}/events/"
    assert request.query == (f"after={after}" if after else "")
    assert request.headers["accept"] == "application/json"
    sent = [{"id": event_id, "type": "text-delta", "delta": text} for event_id, text in events]
    request.answer(200, {"events": sent, "last_event_id": sent[-1]["id"] if sent else after, "more": False})
    return request


def say(socket: Socket, number: int, text: str = "", room: str = "c") -> None:
    """Send the event of a number."""
    socket.event(ID(number), "text-delta", room=room, delta=text or f"{number}")


def text(tab: ClientPage) -> str:
    """What a tab has been told."""
    return "".join(event["delta"] for _, _, event in tab.log)


def heard(tab: ClientPage, wanted: str) -> None:
    """Wait until a tab has been told all of this."""
    deadline = time.monotonic() + PATIENCE
    while text(tab) != wanted:
        assert time.monotonic() < deadline, f"{text(tab)!r}, not {wanted!r}"
        time.sleep(0.01)


def test_tabs_share_a_socket_and_another_one_takes_it_over(site: Site, new_tab: Open) -> None:
    first = new_tab("c", ID(3))
    socket = site.socket()
    socket.admit()
    say(socket, 4)
    heard(first, "4")
    second = new_tab("c", ID(3))
    catch_up(site, ID(3), (ID(4), "4"))
    second.status("open")
    assert second.page.evaluate("[client.transport, rooms.c.role]") == ["tab", "writer"]
    third = new_tab("d")
    assert socket.admit()["room"] == "d"
    catch_up(site, "", ("d.1.000000000001", "d"), room="d")
    third.status("open")
    say(socket, 5)
    heard(first, "45")
    heard(second, "45")
    # A command of a follower's goes its own way, as its own user, and is answered to it alone.
    second.command("stop", "g")
    stop = site.request()
    assert stop.path == "/llmstream/generations/g/stop/"
    stop.answer(200, {"generation": {"id": "g"}})
    assert second.outcome()["result"] == {"generation": {"id": "g"}}
    assert site.untouched
    first.page.close()
    socket.wait_gone()
    # What is said meanwhile is replayed to whoever leads, joined with what one of them has.
    socket = site.socket()
    joins = [socket.frame("join"), socket.frame("join")]
    assert {(join["room"], join["last_event_id"]) for join in joins} == {("c", ID(5)), ("d", "d.1.000000000001")}
    for join in joins:
        socket.send("joined", ref=join["ref"], room=join["room"], role="writer")
    say(socket, 7, "67")
    heard(second, "4567")
    room, after = ("d", "d.1.000000000001") if second.page.evaluate("client.transport") == "websocket" else ("c", ID(5))
    catch_up(site, after, *([(ID(7), "67")] if room == "c" else []), room=room)
    socket.event("d.1.000000000002", "text-delta", room="d", delta="e")
    heard(third, "de")
    heard(second, "4567")


def test_an_event_that_joins_what_a_tab_has_with_what_it_has_not_is_asked_for_again(site: Site, new_tab: Open) -> None:
    new_tab("c", ID(3))
    socket = site.socket()
    socket.admit()
    second = new_tab("c", ID(3))
    # The server has more than the socket has brought.
    catch_up(site, ID(3), (ID(5), "45"))
    heard(second, "45")
    say(socket, 6, "456")
    catch_up(site, ID(5), (ID(6), "6"))
    heard(second, "456")
    say(socket, 7)
    heard(second, "4567")
    assert site.untouched


@pytest.mark.parametrize("how", ["freeze", "pagehide", "silence"])
def test_a_leader_that_is_put_aside_gives_up_the_lead(site: Site, new_tab: Open, how: str) -> None:
    first = new_tab("c", ID(3))
    socket = site.socket()
    socket.admit()
    second = new_tab("c", ID(3))
    catch_up(site, ID(3))
    second.status("open")
    if how == "silence":
        # Its lock is still there, as that of a page that hangs.
        first.page.evaluate("BroadcastChannel.prototype.postMessage = () => {}")
        second.hide()
        second.hide(False)
        second.run(4)
    else:
        target = "document" if how == "freeze" else "globalThis"
        first.page.evaluate(f"{target}.dispatchEvent(new Event({how!r}))")
    again = site.socket()
    assert again.admit()["last_event_id"] == ID(3)
    say(again, 4)
    heard(second, "4")
    assert second.page.evaluate("client.transport") == "websocket"
    if how == "freeze":
        socket.wait_gone()
        first.page.evaluate("document.dispatchEvent(new Event('resume'))")
        catch_up(site, ID(3), (ID(4), "4"))
        heard(first, "4")
        assert first.page.evaluate("client.transport") == "tab"


def test_only_tabs_of_one_user_share(site: Site, new_tab: Open) -> None:
    for options in ({"user": "1"}, {"user": "2"}, {}, {"share": False}):
        tab = new_tab("c", ID(3), **options)
        site.socket().admit()
        tab.status("open")
    # A tab that may not read gets nothing of what another one hears.
    stranger = new_tab("c", ID(3), user="1")
    error = {"code": "not_authenticated", "status": 401, "message": "Sign in.", "temporary": False}
    site.request().answer(401, {"error": error})
    assert stranger.status("closed")["reason"]["code"] == "not_authenticated"
    assert stranger.log == []


def test_ten_tabs_over_sse_leave_room_for_requests(site: Site, new_tab: Open) -> None:
    tabs: list[ClientPage] = []
    streams: list[Request] = []
    for room in (*["c"] * 6, "d", "e", "f", "g"):
        tabs.append(new_tab(room, ID(3), transport="sse"))
        deadline = time.monotonic() + PATIENCE
        while tabs[-1].page.evaluate("client.state.status") != "open":
            assert time.monotonic() < deadline
            if site.untouched:
                continue
            request = site.request()
            if "ready=1" in request.query:
                streams.append(request.stream())
            else:
                request.answer(200, {"events": [], "last_event_id": ID(3), "more": False})
    # Browsers open six connections to a site.
    assert [stream.path.split("/")[-3] for stream in streams] == ["c", "d", "e"]
    streams[0].event(ID(4), "text-delta", delta="4")
    for tab in tabs[:6]:
        heard(tab, "4")
    for tab in tabs:
        assert tab.page.evaluate("fetch('/static/llmstream/wire.js', {cache: 'reload'}).then(({ok}) => ok)")


def test_a_shared_presence_goes_with_its_tab(site: Site, new_tab: Open) -> None:
    first = new_tab("c", ID(3))
    socket = site.socket()
    socket.admit()
    second = new_tab("c", ID(3))
    catch_up(site, ID(3))
    second.status("open")
    second.page.evaluate("rooms.c.presence({line: 3})")
    assert socket.frame("presence")["state"] == {"line": 3}
    second.page.evaluate("client.close()")
    assert socket.frame("presence")["state"] is None
    assert first.page.evaluate("client.state.status") == "open"
    assert site.untouched
