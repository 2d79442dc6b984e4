"""One socket for all rooms: it comes back by itself, loses nothing, shows nothing twice, and says how it stands."""

from __future__ import annotations

from typing import Any

import pytest

from .browsing import ClientPage
from .site import Site, Socket

ID = "c.1.{:012d}".format


@pytest.fixture
def socket(site: Site, page: ClientPage) -> Socket:
    """An open socket with one room on it, which has seen event 3."""
    page.start(transport="websocket")
    page.join("c", lastEventId=ID(3))
    socket = site.socket()
    socket.admit()
    page.wait("rooms.c.state.status === 'open'")
    return socket


def test_rooms_share_a_socket_and_say_what_they_have(site: Site, page: ClientPage) -> None:
    page.start()
    page.join("c", lastEventId=ID(3))
    page.join("d")
    page.join("e", generation="g")
    socket = site.socket()
    joins = [socket.admit() for _ in range(3)]
    wanted = [("c", ID(3), None), ("d", None, None), ("e", None, "g")]
    assert [(join["room"], join.get("last_event_id"), join.get("generation")) for join in joins] == wanted
    page.wait("Object.values(rooms).every(room => room.state.status === 'open' && room.role === 'writer')")
    assert page.status("open")
    assert site.untouched


def test_an_event_is_shown_once(page: ClientPage, socket: Socket) -> None:
    for number in (3, 4, 4, 2, 5):
        socket.event(ID(number), "text-delta", delta=str(number))
    assert page.ids(2) == [ID(4), ID(5)]
    assert page.page.evaluate("rooms.c.lastEventId") == ID(5)


def test_a_reset_and_its_snapshot_replace_the_position(page: ClientPage, socket: Socket) -> None:
    socket.event(None, "reset", reason="epoch")
    socket.event("c.2.000000000001", "snapshot")
    socket.event("c.2.000000000002", "usage")
    assert page.ids(3) == [None, "c.2.000000000001", "c.2.000000000002"]


def test_events_have_listeners_by_type(page: ClientPage, socket: Socket) -> None:
    page.page.evaluate("""() => {
        globalThis.seen = [];
        globalThis.end = rooms.c.on("usage", ({data, id}) => seen.push([data.input, id]));
    }""")
    socket.event(ID(4), "usage", input=7)
    page.ids(1)
    page.page.evaluate("end()")
    socket.event(ID(5), "usage", input=8)
    page.ids(2)
    assert page.page.evaluate("seen") == [[7, ID(4)]]


def test_after_a_cut_every_room_goes_on_where_it_was(site: Site, page: ClientPage, socket: Socket) -> None:
    page.join("d")
    socket.admit()
    socket.event(ID(4), "usage")
    socket.event("d.1.000000000009", "snapshot", room="d")
    page.ids(2)
    socket.close()
    assert page.delay() == 500
    assert page.page.evaluate("rooms.c.state.status") == "waiting"
    page.run(0.5)
    again = site.socket()
    assert [again.admit()["last_event_id"] for _ in range(2)] == [ID(4), "d.1.000000000009"]
    page.status("open")
    again.event(ID(4), "usage")
    again.event(ID(5), "usage")
    assert page.ids(3)[2] == ID(5)


def test_what_a_room_that_was_left_still_gets_is_dropped(page: ClientPage, socket: Socket) -> None:
    page.page.evaluate("rooms.c.leave()")
    assert socket.frame("leave")["room"] == "c"
    assert page.page.evaluate("rooms.c.state.reason.code") == "left"
    page.join("c")
    join = socket.frame("join")
    socket.send("joined", ref=join["ref"] - 1, room="c")
    socket.event(ID(4), "usage")
    socket.send("end", room="c", reason="left")
    socket.send("joined", ref=join["ref"], room="c")
    socket.event(ID(5), "snapshot")
    assert page.ids(1) == [ID(5)]
    assert page.page.evaluate("rooms.c.state.status") == "open"


def test_waits_grow_to_20_seconds_with_full_jitter(site: Site, page: ClientPage) -> None:
    site.handshakes = "refuse"
    page.start(transport="websocket")
    delays = []
    for _ in range(8):
        site.socket()
        delays.append(page.delay())
        page.run(delays[-1] / 1_000)
    assert delays == [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]
    site.socket()
    page.status("waiting")
    page.page.evaluate("Math.random = () => 0.1")
    page.run(20)
    site.socket()
    assert page.delay() == 2_000


@pytest.mark.parametrize(("stable", "delay"), [(9.9, 1_000), (10, 500)])
def test_ten_stable_seconds_end_the_backoff(site: Site, page: ClientPage, stable: float, delay: int) -> None:
    page.start(transport="websocket")
    first = site.socket()
    first.close()
    assert page.delay() == 500
    page.run(0.5)
    second = site.socket()
    second.frame("ping")
    second.send("pong")
    page.status("open")
    page.run(stable)
    second.close()
    assert page.delay() == delay


def test_a_dead_peer_is_given_up(site: Site, page: ClientPage, socket: Socket) -> None:
    page.run(19)
    socket.send("pong")
    socket.event(ID(4), "usage")
    page.ids(1)
    page.run(19.9)
    assert page.page.evaluate("client.state.status") == "open"
    page.run(0.2)
    assert page.delay() > 0
    socket.wait_gone()
    page.run(0.5)
    assert site.socket().admit()["last_event_id"] == ID(4)


def test_a_handshake_may_take_four_seconds(site: Site, page: ClientPage) -> None:
    site.handshakes = "hang"
    page.start(transport="websocket")
    site.socket()
    page.run(3.9)
    assert page.page.evaluate("client.state.status") == "connecting"
    page.run(0.2)
    page.status("waiting")


def test_the_client_pings_while_it_is_seen(page: ClientPage, socket: Socket) -> None:
    page.hide()
    for count in (1, 2):
        page.run(15)
        # Heard before more time passes: the server must not seem dead.
        socket.event(ID(3 + count), "usage")
        page.ids(count)
    assert socket.frames.empty()
    page.page.evaluate("Object.defineProperty(document, 'hidden', {value: false})")
    page.run(10)
    socket.frame("ping")


@pytest.mark.parametrize("code", [4001, 4013, 4401, 4403, 4429])
def test_a_final_code_ends_everything(site: Site, page: ClientPage, socket: Socket, code: int) -> None:
    socket.send("error", error={"code": "not_today", "status": 401, "message": "No."})
    socket.close(code)
    reason = page.status("closed")["reason"]
    assert (reason["code"], reason["message"], reason["closeCode"]) == ("not_today", "No.", code)
    assert page.page.evaluate("rooms.c.state.status") == "closed"
    page.run(60)
    page.page.evaluate("dispatchEvent(new Event('online'))")
    page.command("send", "Hello")
    assert page.outcome()["error"]["code"] == "closed"
    assert site.untouched
    page.page.evaluate("client.connect()")
    assert site.socket().admit()["last_event_id"] == ID(3)
    page.status("open")


def test_a_visitor_who_is_not_signed_in_is_told(site: Site, page: ClientPage) -> None:
    page.start(transport="websocket")
    site.socket().close(4401)
    assert page.status("closed")["reason"]["code"] == "not_authenticated"
    assert page.page.evaluate("states.map(state => state.status)") == ["closed"]


@pytest.mark.parametrize("code", [1000, 1011, 1012, 3000, 4100, 4101, 4108, 4112, 4129, 4999])
def test_other_codes_lead_to_backoff(site: Site, page: ClientPage, socket: Socket, code: int) -> None:
    socket.close(code)
    assert page.delay() == 500
    page.run(0.5)
    assert site.socket().admit()["last_event_id"] == ID(3)


def test_a_limit_says_how_long_to_stay_away(page: ClientPage, socket: Socket) -> None:
    limit = {"code": "rate_limited", "status": 429, "message": "Slow down.", "temporary": True, "retry_after_ms": 7_000}
    socket.send("error", error=limit)
    socket.close(4129)
    assert page.delay() == 7_000


def test_a_rotation_reconnects_at_once_but_not_in_a_circle(site: Site, page: ClientPage, socket: Socket) -> None:
    page.run(10)
    socket.close(4200)
    second = site.socket()
    assert second.admit()["last_event_id"] == ID(3)
    page.status("open")
    second.close(4200)
    assert page.delay() == 1_000


def test_a_network_that_comes_back_is_used_at_once(site: Site, page: ClientPage, socket: Socket) -> None:
    page.network(False)
    socket.close()
    page.status("offline")
    page.network(True)
    assert site.socket().admit()["last_event_id"] == ID(3)
    page.status("open")


def test_a_browser_that_is_wrong_about_the_network_is_not_believed(
    site: Site, page: ClientPage, socket: Socket
) -> None:
    page.page.evaluate("Object.defineProperty(navigator, 'onLine', {value: false})")
    socket.close()
    page.status("offline")
    page.run(20)
    site.socket().admit()
    page.status("open")


@pytest.mark.parametrize("event", ["online", "offline"])
def test_a_socket_must_survive_a_change_of_networks(page: ClientPage, socket: Socket, event: str) -> None:
    page.page.evaluate("event => dispatchEvent(new Event(event))", event)
    socket.frame("ping")
    socket.send("pong")
    socket.event(ID(4), "usage")
    page.ids(1)
    page.run(5)
    assert page.page.evaluate("client.state.status") == "open"
    page.page.evaluate("event => dispatchEvent(new Event(event))", event)
    page.run(4.1)
    page.status("waiting")


def test_a_page_that_is_looked_at_again_tries_at_once(site: Site, page: ClientPage, socket: Socket) -> None:
    page.hide()
    socket.close()
    page.status("waiting")
    page.hide(False)
    assert site.socket().admit()["last_event_id"] == ID(3)


def test_a_page_from_the_back_forward_cache_tries_at_once(site: Site, page: ClientPage, socket: Socket) -> None:
    page.page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    socket.wait_gone()
    page.run(60)
    assert site.untouched
    page.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    assert site.socket().admit()["last_event_id"] == ID(3)


def test_a_room_that_is_not_ours_is_closed_and_the_others_go_on(page: ClientPage, socket: Socket) -> None:
    page.join("x")
    refusal: dict[str, Any] = {"code": "not_found", "status": 404, "message": "Nothing here.", "temporary": False}
    socket.send("error", ref=socket.frame("join")["ref"], room="x", error=refusal)
    page.wait("rooms.x.state.status === 'closed'")
    assert page.page.evaluate("rooms.x.state.reason.code") == "not_found"
    socket.event(ID(4), "usage")
    assert page.ids(1) == [ID(4)]


def test_a_room_that_cannot_be_opened_now_is_asked_for_again(page: ClientPage, socket: Socket) -> None:
    page.join("x")
    refusal = {"code": "overloaded", "status": 503, "message": "Busy.", "temporary": True, "retry_after_ms": 3_000}
    socket.send("error", ref=socket.frame("join")["ref"], room="x", error=refusal)
    socket.event(ID(4), "usage")
    page.ids(1)
    page.run(3)
    assert socket.admit()["room"] == "x"


@pytest.mark.parametrize("reason", ["ended", "not_found"])
def test_the_server_ends_a_room(site: Site, page: ClientPage, socket: Socket, reason: str) -> None:
    socket.send("end", room="c", reason=reason)
    page.wait("rooms.c.state.status === 'closed'")
    assert page.page.evaluate("rooms.c.state.reason.code") == reason
    socket.close()
    page.status("waiting")
    page.run(0.5)
    again = site.socket()
    again.frame("ping")
    again.send("pong")
    page.status("open")
    assert again.frames.empty()


def test_a_closed_client_stays_closed(site: Site, page: ClientPage, socket: Socket) -> None:
    page.page.evaluate("client.close()")
    socket.wait_gone()
    page.status("closed")
    page.run(60)
    page.page.evaluate("dispatchEvent(new Event('online'))")
    assert site.untouched
