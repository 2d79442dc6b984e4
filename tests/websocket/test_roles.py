"""Who may do what on a socket: every type of frame for every role, and what strangers can find out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from django.test import AsyncClient

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.endings import stop
from llmstream.models import Conversation, Membership
from llmstream.sockets.frames import SHAPES
from tests.http.client import ROOT, own, signed_in
from tests.support import ask, site, user
from tests.websocket.visitors import Frame, Visitor, visit

pytestmark = pytest.mark.django_db(transaction=True)

MEMBERS = ("reader", "writer", "owner")
#: What members get for each type of frame: the type of the answer, or an error's code. ``silent`` is no answer.
ALLOWED: dict[str, dict[str, str]] = {
    "join": {"reader": "joined", "writer": "joined", "owner": "joined"},
    "leave": {"reader": "ack", "writer": "ack", "owner": "ack"},
    "send": {"reader": "permission_denied", "writer": "ack", "owner": "ack"},
    "stop": {"reader": "permission_denied", "writer": "ack", "owner": "ack"},
    "retry": {"reader": "permission_denied", "writer": "ack", "owner": "ack"},
    "choose": {"reader": "permission_denied", "writer": "invalid_request", "owner": "invalid_request"},
    "steer": {
        "reader": "permission_denied",
        "writer": "generation_not_steerable",
        "owner": "generation_not_steerable",
    },
    "approve": {"reader": "permission_denied", "writer": "no_such_tool_call", "owner": "no_such_tool_call"},
    "deny": {"reader": "permission_denied", "writer": "no_such_tool_call", "owner": "no_such_tool_call"},
    "typing": {"reader": "permission_denied", "writer": "silent", "owner": "silent"},
    "presence": {"reader": "presence", "writer": "presence", "owner": "presence"},
    "ping": {"reader": "pong", "writer": "pong", "owner": "pong"},
}
#: What those get who see nothing of the room. To leave is no secret: nobody is there afterwards.
OUTSIDE = {"leave": "ack", "ping": "pong"}


def shared(role: str) -> tuple[str, str]:
    """Return the ids of a conversation of bob's in which ann has a role, and of its stopped generation."""
    sent = ask(own("bob"))
    stop(sent.generation.pk)
    if role in MEMBERS:
        Membership.objects.create(conversation=sent.conversation, user=user("ann"), role=role)
    return sent.conversation.public_id, sent.generation.public_id


def members_of(kind: str, room: str, generation: str) -> dict[str, Any]:
    """Return the fields of a frame that is right in form and content."""
    whole = {
        "room": room,
        "generation": generation,
        "content": "Hello",
        "call": "call-1",
        "state": {"x": 1},
        "leaf": "m" * 22,
    }
    shape = SHAPES[kind]
    wanted = shape.required if kind == "join" else shape.required + shape.optional
    return {name: whole[name] for name in wanted if name in whole}


async def outcome(visitor: Visitor, kind: str, **fields: Any) -> str:
    """Send a frame; return the type of its answer, an error's code, or ``silent``."""
    await visitor.send(kind, ref="it", **fields)
    await visitor.send("leave", ref="after", room="nowhere")
    frame = await visitor.until(lambda frame: frame.get("ref") in ("it", "after"))
    if frame.get("ref") == "after":
        return "silent"
    return str(frame["error"]["code"] if frame["type"] == "error" else frame["type"])


def test_every_type_of_frame_has_its_row() -> None:
    assert set(ALLOWED) == set(SHAPES)


@pytest.mark.parametrize("kind", ALLOWED)
async def test_members_do_what_their_role_allows(running: Engine, kind: str) -> None:
    for role in MEMBERS:
        room, generation = await run_db(shared, role)
        with site():
            async with visit() as ann:
                joined = await ann.ask("join", room=room)
                assert joined["role"] == role
                assert await outcome(ann, kind, **members_of(kind, room, generation)) == ALLOWED[kind][role], role
        await run_db(Conversation.objects.all().delete)


@asynccontextmanager
async def anonymous() -> AsyncIterator[Visitor]:
    """A visitor who holds a conversation of their own in their session, but is not signed in."""
    client = AsyncClient()
    made = await client.post(f"{ROOT}conversations/", {}, content_type="application/json")
    assert made.status_code == 201
    async with visit(client) as visitor:
        assert (await visitor.ask("join", room=orjson.loads(made.content)["id"]))["role"] == "owner"
        yield visitor


async def answer(visitor: Visitor, kind: str, fields: dict[str, Any]) -> Frame:
    """Send a frame and return its answer, without what was given in it."""
    frame = await visitor.ask(kind, **fields)
    return {key: value for key, value in frame.items() if key not in ("ref", "room")}


@pytest.mark.parametrize("kind", ALLOWED)
@pytest.mark.parametrize("who", ["stranger", "anonymous"])
async def test_outsiders_cannot_tell_a_room_from_none(running: Engine, kind: str, who: str) -> None:
    room, generation = await run_db(shared, "none")
    with site(ALLOW_ANONYMOUS=True):
        async with visit() if who == "stranger" else anonymous() as visitor:
            foreign = members_of(kind, room, generation)
            unknown = members_of(kind, "r" * 22, "g" * 22)
            mistaken = members_of(kind, "../" + room, "")
            answers = [await answer(visitor, kind, fields) for fields in (foreign, unknown, mistaken)]
            assert answers[0] == answers[1] == answers[2]
            expected = OUTSIDE.get(kind, "not_found")
            assert expected in (answers[0]["type"], answers[0].get("error", {}).get("code"))
    assert await run_db(lambda: Conversation.objects.get(public_id=room).messages.count()) == 2


async def test_commands_need_no_join(running: Engine) -> None:
    room, generation = await run_db(shared, "writer")
    with site():
        async with visit() as ann:
            for kind in ("retry", "stop"):
                assert (await ann.ask(kind, **members_of(kind, room, generation)))["type"] in ("ack", "error")
            assert await outcome(ann, "send", room=room, content="Hi") in ("ack", "generation_in_progress")
            assert not ann.events


async def test_a_role_that_changes_counts_at_once_for_commands(running: Engine) -> None:
    room, _ = await run_db(shared, "writer")
    with site():
        async with visit() as ann:
            await ann.ask("join", room=room)
            await run_db(lambda: Membership.objects.update(role="reader"))
            assert await outcome(ann, "send", room=room, content="Hi") == "permission_denied"


async def test_visitors_are_told_to_sign_in(running: Engine) -> None:
    async with visit(None) as visitor:
        assert await visitor.closed() == 4401
        assert visitor.frames == [
            {
                "type": "error",
                "error": {
                    "code": "not_authenticated",
                    "status": 401,
                    "message": "Sign in first.",
                    "temporary": False,
                    "retry_after_ms": None,
                },
            }
        ]


async def test_a_stale_session_is_none(running: Engine) -> None:
    client, ann = await run_db(signed_in)
    ann.set_password("another")
    await run_db(ann.save)
    async with visit(client) as visitor:
        assert await visitor.closed() == 4401
