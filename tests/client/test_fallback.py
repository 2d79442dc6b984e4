"""Where no socket gets through: the same rooms and commands over Server-Sent Events and requests."""

from __future__ import annotations

import pytest

from .browsing import ClientPage
from .site import CSRF_TOKEN, PATIENCE, Request, Site

ID = "c.1.{:012d}".format
OUTCOME = {"message": {"id": "m"}, "generation": {"id": "g"}, "last_event_id": ID(3)}


@pytest.fixture
def stream(site: Site, page: ClientPage) -> Request:
    """The open stream of a room, which has seen event 3, without sockets."""
    page.start(transport="sse")
    page.join("c", lastEventId=ID(3))
    stream = site.request().stream()
    page.status("open")
    return stream


def check_stream(site: Site, page: ClientPage) -> None:
    """What a room gets over SSE once the client has turned to it."""
    request = site.request()
    assert (request.method, request.path) == ("GET", "/llmstream/conversations/c/events/")
    assert request.query == f"last_event_id={ID(3)}&ready=1"
    request.stream().event(ID(4), "usage")
    assert page.ids(1) == [ID(4)]
    assert page.page.evaluate("client.transport") == "sse"
    assert page.page.evaluate("rooms.c.state.status") == "open"


def test_after_two_refused_handshakes(site: Site, page: ClientPage) -> None:
    site.handshakes = "refuse"
    page.start()
    page.join("c", lastEventId=ID(3))
    site.socket()
    page.run(page.delay() / 1_000)
    site.socket()
    check_stream(site, page)


def test_after_a_handshake_that_hangs(site: Site, page: ClientPage) -> None:
    site.handshakes = "hang"
    page.start()
    page.join("c", lastEventId=ID(3))
    site.socket()
    page.run(4)
    check_stream(site, page)


def test_after_a_socket_that_carries_nothing(site: Site, page: ClientPage) -> None:
    page.start()
    page.join("c", lastEventId=ID(3))
    site.socket().frame("join")
    page.run(4)
    check_stream(site, page)


def test_in_a_browser_without_sockets(site: Site, page: ClientPage) -> None:
    page.page.evaluate("delete globalThis.WebSocket")
    page.start()
    page.join("c", lastEventId=ID(3))
    check_stream(site, page)


@pytest.mark.parametrize("answer", [200, 502])
def test_sockets_that_have_worked_are_in_doubt_when_the_server_answers_otherwise(
    site: Site, page: ClientPage, answer: int
) -> None:
    page.start()
    page.join("c", lastEventId=ID(3))
    first = site.socket()
    first.admit()
    page.status("open")
    site.handshakes = "refuse"
    first.close()
    for _ in range(3):
        page.run(page.delay() / 1_000)
        site.socket()
    check = site.request()
    assert check.path == "/llmstream/conversations/"
    check.answer(answer, {})
    if answer == 200:
        check_stream(site, page)
        return
    page.run(page.delay() / 1_000)
    site.socket()
    assert page.page.evaluate("client.transport") == "websocket"


def test_sockets_are_tried_again_later(site: Site, page: ClientPage) -> None:
    site.handshakes = "hang"
    page.start()
    page.join("c", lastEventId=ID(3))
    site.socket()
    page.run(4)
    stream = site.request().stream()
    stream.event(ID(4), "message-end", generation="g")
    page.ids(1)
    page.run(10)
    site.socket()
    site.handshakes = "accept"
    page.run(8)
    # No longer than until the next look begins: time that ran on would end it before the site has heard of it.
    page.run(20)
    probe = site.socket()
    probe.frame("ping")
    assert page.page.evaluate("client.transport") == "sse"
    probe.send("pong")
    socket = site.socket()
    assert socket.admit()["last_event_id"] == ID(4)
    page.status("open")
    assert page.page.evaluate("client.transport") == "websocket"
    stream.wait_gone()


def test_a_prompt_under_way_moves_over(site: Site, page: ClientPage) -> None:
    page.start()
    page.join("c", lastEventId=ID(3))
    page.command("send", "Hello")
    sent = site.socket().frame("send")
    page.run(4)
    requests = {request.method: request for request in (site.request(), site.request())}
    assert requests["POST"].json == {"content": "Hello", "client_id": sent["client_id"]}
    requests["POST"].answer(201, OUTCOME)
    assert page.outcome()["result"] == OUTCOME


@pytest.mark.parametrize(
    ("method", "args", "path", "body"),
    [
        ("send", ["Hi", {"clientId": "1", "busy": "queue"}], "conversations/c/messages/", None),
        ("stop", ["g"], "generations/g/stop/", {}),
        ("retry", ["g", {"clientId": "1", "model": "m"}], "generations/g/retry/", {"client_id": "1", "model": "m"}),
        ("steer", ["g", "Go", {"clientId": "2"}], "generations/g/steer/", {"content": "Go", "client_id": "2"}),
        ("approve", ["g", "a/b"], "generations/g/tool-calls/a%2Fb/", {"decision": "approve"}),
        ("deny", ["g", "t"], "generations/g/tool-calls/t/", {"decision": "deny"}),
        (
            "edit",
            ["m", "Ho", {"clientId": "1"}],
            "conversations/c/messages/",
            {"content": "Ho", "client_id": "1", "edits": "m"},
        ),
        ("chooseBranch", ["m"], "conversations/c/", {"leaf": "m"}),
    ],
)
def test_commands_are_requests(
    site: Site, page: ClientPage, stream: Request, method: str, args: list[object], path: str, body: object
) -> None:
    page.command(method, *args)
    request = site.request()
    method = "PATCH" if method == "chooseBranch" else "POST"
    assert (request.method, request.raw_path) == (method, f"/llmstream/{path}")
    assert request.headers["x-csrftoken"] == CSRF_TOKEN
    assert request.json == (body if body is not None else {"content": "Hi", "client_id": "1", "busy": "queue"})
    request.answer(200, OUTCOME)
    assert page.outcome()["result"] == OUTCOME


def test_a_refused_request_carries_the_servers_words(site: Site, page: ClientPage, stream: Request) -> None:
    page.command("send", "Hello")
    error = {"code": "generation_in_progress", "status": 409, "message": "Busy.", "temporary": True}
    site.request().answer(409, {"error": error, "generation": {"id": "g"}})
    refused = page.outcome()["error"]
    assert (refused["code"], refused["status"]) == ("generation_in_progress", 409)
    assert refused["body"]["generation"] == {"id": "g"}


def test_a_prompt_is_posted_again_until_the_server_answers(site: Site, page: ClientPage, stream: Request) -> None:
    page.command("send", "Hello")
    request = site.request()
    request.answer(502, "Bad gateway", content_type="text/html")
    page.run_until(lambda: not site.untouched)
    again = site.request()
    assert again.json == request.json
    again.answer(201, OUTCOME)
    assert page.outcome()["result"] == OUTCOME


def test_a_prompt_outlives_the_page_that_sent_it(site: Site, page: ClientPage, stream: Request) -> None:
    page.command("send", "Hello")
    request = site.request()
    page.page.goto("about:blank")
    assert stream.gone.wait(PATIENCE)
    assert not request.gone.is_set()
    request.answer(201, OUTCOME)


def test_prompts_keep_their_order(site: Site, page: ClientPage, stream: Request) -> None:
    page.command("send", "First", name="first")
    page.command("send", "Second", name="second")
    page.command("stop", "g", name="stopped")
    first, stop = site.request(), site.request()
    if first.json == {}:
        first, stop = stop, first
    assert (first.json["content"], stop.json) == ("First", {})
    assert site.untouched
    first.answer(201, OUTCOME)
    page.outcome("first")
    assert site.request().json["content"] == "Second"


def test_what_needs_a_socket_does_nothing(site: Site, page: ClientPage, stream: Request) -> None:
    page.page.evaluate("rooms.c.typing(); rooms.c.presence({line: 3})")
    stream.event(ID(4), "usage")
    page.ids(1)
    assert site.untouched


def test_a_stream_that_breaks_goes_on_where_it_was(site: Site, page: ClientPage, stream: Request) -> None:
    stream.event(ID(4), "usage")
    page.ids(1)
    stream.end()
    assert page.delay() == 500
    page.run(0.5)
    again = site.request()
    assert again.query == f"last_event_id={ID(4)}&ready=1"
    again.stream().event(ID(5), "usage")
    assert page.ids(2) == [ID(4), ID(5)]
    page.status("open")


def test_a_rotation_goes_on_at_once(site: Site, page: ClientPage, stream: Request) -> None:
    stream.event(None, "rotate")
    assert site.request().query == f"last_event_id={ID(3)}&ready=1"
    stream.wait_gone()


def test_a_reset_and_its_snapshot_replace_the_position(site: Site, page: ClientPage, stream: Request) -> None:
    stream.event(ID(4), "usage")
    stream.event(None, "reset", reason="epoch")
    stream.event("c.2.000000000001", "snapshot")
    stream.event("c.2.000000000002", "usage")
    assert page.ids(4) == [ID(4), None, "c.2.000000000001", "c.2.000000000002"]


def test_an_overloaded_server_is_left_alone(site: Site, page: ClientPage, stream: Request) -> None:
    stream.event(None, "error", error={"code": "overloaded", "status": 503, "temporary": True, "retry_after_ms": None})
    assert page.delay() == 3_000


@pytest.mark.parametrize(
    ("status", "code"), [(401, "not_authenticated"), (403, "permission_denied"), (404, "not_found")]
)
def test_a_refused_stream_is_final(site: Site, page: ClientPage, status: int, code: str) -> None:
    page.start(transport="sse")
    page.join()
    for _ in range(2):  # EventSource does not say why, so the client asks once more
        site.request().answer(status, {"error": {"code": code, "status": status, "message": "No."}})
    page.wait("rooms.c.state.status === 'closed'")
    assert page.page.evaluate("rooms.c.state.reason.code") == code
    page.status("closed" if status == 401 else "open")
    page.run(60)
    assert site.untouched


def test_a_server_that_fails_is_tried_again(site: Site, page: ClientPage) -> None:
    page.start(transport="sse")
    page.join()
    for _ in range(2):
        site.request().answer(500, "Oops", content_type="text/html")
    assert page.delay() == 500
    page.run(0.5)
    site.request().stream()
    page.status("open")


def test_a_deleted_conversation_ends_its_room(site: Site, page: ClientPage, stream: Request) -> None:
    stream.event(None, "error", error={"code": "not_found", "status": 404, "temporary": False})
    page.wait("rooms.c.state.status === 'closed'")
    assert page.page.evaluate("rooms.c.state.reason.code") == "not_found"


def test_one_answer_ends_with_its_end(site: Site, page: ClientPage) -> None:
    page.start(transport="sse")
    page.join("c", generation="g")
    request = site.request()
    assert request.path == "/llmstream/generations/g/events/"
    request.stream().event(ID(4), "message-end", generation="g")
    page.wait("rooms.c.state.status === 'closed'")
    assert page.page.evaluate("rooms.c.state.reason.code") == "ended"
    page.join("c", generation="g", lastEventId=ID(4))
    for _ in range(2):
        site.request().answer(204)
    page.wait("rooms.c.state.status === 'closed'")
    assert page.page.evaluate("rooms.c.state.reason.code") == "ended"


def test_rooms_have_a_stream_each(site: Site, page: ClientPage, stream: Request) -> None:
    page.join("d")
    assert page.page.evaluate("client.state.status") == "connecting"
    other = site.request().stream()
    page.status("open")
    page.page.evaluate("rooms.c.leave()")
    stream.wait_gone()
    other.event("d.1.000000000001", "snapshot")
    assert page.ids(1) == ["d.1.000000000001"]


def test_a_network_that_comes_back_replaces_streams(site: Site, page: ClientPage, stream: Request) -> None:
    page.page.evaluate("dispatchEvent(new Event('online'))")
    assert site.request().query == f"last_event_id={ID(3)}&ready=1"
    stream.wait_gone()


@pytest.mark.parametrize(("seconds", "replaced"), [(14, False), (16, True)])
def test_a_page_that_was_away_for_long_does_not_trust_its_stream(
    site: Site, page: ClientPage, stream: Request, seconds: int, replaced: bool
) -> None:
    page.hide()
    page.run(seconds)
    page.hide(False)
    if replaced:
        assert site.request().query == f"last_event_id={ID(3)}&ready=1"
        return
    stream.event(ID(4), "usage")
    page.ids(1)
    assert site.untouched
