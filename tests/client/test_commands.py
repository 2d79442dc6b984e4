"""Commands: answered once, carried out once, whatever happens to the connection."""

from __future__ import annotations

from typing import Any

import pytest

from .browsing import ClientPage
from .site import CSRF_TOKEN, Site, Socket

ALICE = {"id": "1", "name": "alice"}
OUTCOME = {"message": {"id": "m"}, "generation": {"id": "g"}, "last_event_id": "c.1.000000000003"}


@pytest.fixture
def socket(site: Site, page: ClientPage) -> Socket:
    """An open socket with one room on it."""
    page.start(transport="websocket")
    page.join()
    socket = site.socket()
    socket.admit()
    page.wait("rooms.c.state.status === 'open'")
    return socket


def reconnected(site: Site, page: ClientPage, socket: Socket) -> Socket:
    """Break the socket; return the next one, with the room on it."""
    socket.close()
    page.run(page.delay() / 1_000)
    again = site.socket()
    again.admit()
    return again


def test_a_prompt_is_acknowledged(page: ClientPage, socket: Socket) -> None:
    page.command("send", "Hello", {"model": "small", "busy": "queue", "parent": "p"})
    frame = socket.frame("send")
    wanted = {"room": "c", "content": "Hello", "model": "small", "busy": "queue", "parent": "p"}
    assert wanted.items() <= frame.items()
    socket.send("ack", ref=frame["ref"], client_id=frame["client_id"], **OUTCOME)
    assert page.outcome() == {"result": {"client_id": frame["client_id"], **OUTCOME}}


def test_a_prompt_is_sent_again_until_it_is_acknowledged(site: Site, page: ClientPage, socket: Socket) -> None:
    page.command("send", "Hello", name="first")
    page.command("send", "Hello", name="second")
    ids = [socket.frame("send")["client_id"] for _ in range(2)]
    assert ids[0] != ids[1]
    second = reconnected(site, page, socket)
    frames = [second.frame("send") for _ in range(2)]
    assert [frame["client_id"] for frame in frames] == ids
    second.send("ack", ref=frames[0]["ref"], **OUTCOME)
    assert page.outcome("first")["result"] == OUTCOME
    third = reconnected(site, page, second)
    frame = third.frame("send")
    assert frame["client_id"] == ids[1]
    third.send("ack", ref=frame["ref"], **OUTCOME)
    assert page.outcome("second")["result"] == OUTCOME
    fourth = reconnected(site, page, third)
    fourth.send("pong")
    page.status("open")
    assert fourth.frames.empty()


def test_what_is_said_without_a_connection_is_said_once_there_is_one(
    site: Site, page: ClientPage, socket: Socket
) -> None:
    socket.close()
    page.status("waiting")
    page.command("send", "Hello", name="prompt")
    page.command("retry", "g", name="again")
    page.run(0.5)
    again = site.socket()
    again.admit()
    prompt, retry = again.frame("send"), again.frame("retry")
    again.send("ack", ref=retry["ref"], **OUTCOME)
    again.send("ack", ref=prompt["ref"], **OUTCOME)
    assert page.outcome("prompt") == page.outcome("again") == {"result": OUTCOME}


@pytest.mark.parametrize(
    ("method", "args", "frame"),
    [
        ("stop", ["g"], {"type": "stop", "generation": "g"}),
        ("retry", ["g", {"model": "m"}], {"type": "retry", "generation": "g", "model": "m"}),
        ("steer", ["g", "Shorter"], {"type": "steer", "generation": "g", "content": "Shorter"}),
        ("approve", ["g", "t"], {"type": "approve", "generation": "g", "call": "t"}),
        ("deny", ["g", "t"], {"type": "deny", "generation": "g", "call": "t"}),
        ("chooseBranch", ["m"], {"type": "choose", "room": "c", "leaf": "m"}),
    ],
)
def test_a_command_is_repeated_as_it_was(
    site: Site, page: ClientPage, socket: Socket, method: str, args: list[Any], frame: dict[str, Any]
) -> None:
    page.command(method, *args)
    sent = socket.frame(frame["type"])
    assert frame.items() <= sent.items()
    again = reconnected(site, page, socket)
    second = again.frame(frame["type"])
    assert {**second, "ref": sent["ref"]} == sent
    again.send("ack", ref=second["ref"], generation={"id": "g"})
    assert page.outcome() == {"result": {"generation": {"id": "g"}}}


def test_a_refusal_carries_the_servers_words(page: ClientPage, socket: Socket) -> None:
    page.command("send", "Hello")
    error = {"code": "generation_in_progress", "status": 409, "message": "Busy.", "temporary": True}
    socket.send("error", ref=socket.frame("send")["ref"], room="c", error=error, generation={"id": "g"})
    refused = page.outcome()["error"]
    assert (refused["code"], refused["status"]) == ("generation_in_progress", 409)
    assert refused["body"]["generation"] == {"id": "g"}


def test_closing_the_client_rejects_what_is_open(page: ClientPage, socket: Socket) -> None:
    page.command("send", "Hello")
    socket.frame("send")
    page.page.evaluate("client.close()")
    assert page.outcome()["error"]["code"] == "closed"
    page.command("stop", "g", name="late")
    assert page.outcome("late")["error"]["code"] == "closed"


def test_a_prompt_too_large_for_a_frame_is_posted(site: Site, page: ClientPage, socket: Socket) -> None:
    text = "ß" * 33_000
    page.command("send", text)
    request = site.request()
    assert (request.method, request.path) == ("POST", "/llmstream/conversations/c/messages/")
    assert request.json["content"] == text
    assert request.headers["x-csrftoken"] == CSRF_TOKEN
    request.answer(201, OUTCOME)
    assert page.outcome()["result"] == OUTCOME
    assert socket.frames.empty()


def test_typing_is_said_every_three_seconds_at_most(page: ClientPage, socket: Socket) -> None:
    typing = "rooms.c.typing()"
    for _ in range(4):
        page.page.evaluate(typing)
        page.run(1)
    page.page.evaluate("rooms.c.typing(false)")
    page.page.evaluate("rooms.c.typing(false)")
    page.page.evaluate(typing)
    page.command("send", "Hello")
    assert [socket.frame("typing")["active"] for _ in range(5)] == [True, True, False, True, False]
    socket.frame("send")
    assert socket.frames.empty()


def test_visitors_who_are_not_signed_in_type_too(page: ClientPage, socket: Socket) -> None:
    socket.send("typing", room="c", user=None, active=True)
    page.wait("rooms.c.typists.length === 1")
    assert page.page.evaluate("rooms.c.typists") == [None]
    socket.send("typing", room="c", user=None, active=False)
    page.wait("rooms.c.typists.length === 0")


def test_who_types_is_forgotten_when_nothing_follows(page: ClientPage, socket: Socket) -> None:
    socket.send("typing", room="c", user=ALICE, active=True)
    page.wait("rooms.c.typists[0]?.name === 'alice'")
    page.run(7.1)
    assert page.page.evaluate("rooms.c.typists") == []
    socket.send("typing", room="c", user=ALICE, active=True)
    page.wait("rooms.c.typists.length === 1")
    socket.send("typing", room="c", user=ALICE, active=False)
    page.wait("rooms.c.typists.length === 0")


def test_presence_is_shared_again_on_every_connection(site: Site, page: ClientPage, socket: Socket) -> None:
    members = [{"user": ALICE, "devices": 2}]
    socket.send("presence", room="c", members=members)
    page.wait("rooms.c.members.length")
    assert page.page.evaluate("rooms.c.members") == members
    page.page.evaluate("rooms.c.presence({line: 3})")
    assert socket.frame("presence")["state"] == {"line": 3}
    again = reconnected(site, page, socket)
    assert again.frame("presence")["state"] == {"line": 3}
