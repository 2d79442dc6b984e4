"""Frames that are none: each has its close code, and disturbs nobody else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.sockets.frames import KINDS, SHAPES
from tests.http.client import own
from tests.support import Upstream, site, text_of
from tests.websocket.visitors import Visitor, visit

pytestmark = pytest.mark.django_db(transaction=True)

ROOM = "r" * 22
#: What is sent, and the close code and error code that follow.
MALFORMED: dict[str, tuple[str | bytes, int, str]] = {
    "empty": ("", 4001, "malformed_json"),
    "no JSON": ("hello", 4001, "malformed_json"),
    "cut off": ('{"type":"ping"', 4001, "malformed_json"),
    "two objects": ('{"type":"ping"}{"type":"ping"}', 4001, "malformed_json"),
    "a list": ('[{"type":"ping"}]', 4001, "malformed_json"),
    "a string": ('"ping"', 4001, "malformed_json"),
    "a number": ("1", 4001, "malformed_json"),
    "null": ("null", 4001, "malformed_json"),
    "NaN": ('{"type":"ping","ref":NaN}', 4001, "malformed_json"),
    "nested too deep": ('{"type":"ping","x":' + "[" * 20_000 + "]" * 20_000 + "}", 4001, "malformed_json"),
    "half a surrogate pair": ('{"type":"ping","x":"\\ud800"}', 4001, "malformed_json"),
    "no type": ("{}", 4001, "invalid_request"),
    "type of a wrong kind": ('{"type":7}', 4001, "invalid_request"),
    "type in a list": ('{"type":["ping"]}', 4001, "invalid_request"),
    "unknown type": ('{"type":"dance"}', 4001, "invalid_request"),
    "type in capitals": ('{"type":"PING"}', 4001, "invalid_request"),
    "a server's type": ('{"type":"pong"}', 4001, "invalid_request"),
    "ref too long": ('{"type":"ping","ref":"' + "r" * 65 + '"}', 4001, "invalid_request"),
    "ref of a wrong kind": ('{"type":"ping","ref":{}}', 4001, "invalid_request"),
    "ref true": ('{"type":"ping","ref":true}', 4001, "invalid_request"),
    "no room": ('{"type":"join"}', 4001, "invalid_request"),
    "active of a wrong kind": (f'{{"type":"typing","room":"{ROOM}","active":"yes"}}', 4001, "invalid_request"),
    "state of a wrong kind": (f'{{"type":"presence","room":"{ROOM}","state":[]}}', 4001, "invalid_request"),
    "binary": (b"\x00\x01", 4001, "invalid_request"),
    "binary JSON": (b'{"type":"ping"}', 4001, "invalid_request"),
    "too large": ('{"type":"ping","x":"' + "x" * 65_536 + '"}', 4013, "too_large"),
    "too large in UTF-8": ('{"type":"ping","x":"' + "\u20ac" * 22_000 + '"}', 4013, "too_large"),
    "too large and no JSON": ("x" * 65_537, 4013, "too_large"),
}
WRONG_KINDS: dict[type, list[Any]] = {
    str: [7, True, [], {}],
    bool: [1, "true", []],
    dict: ["{}", 1, []],
    list: ["[]", 1, {}],
}


async def send_raw(visitor: Visitor, raw: str | bytes) -> None:
    """Send a text or binary frame as it is."""
    await (visitor.send_bytes(raw) if isinstance(raw, bytes) else visitor.send_text(raw))


async def test_malformed_frames_close_their_socket_and_no_other(running: Engine) -> None:
    found = await run_db(own)
    upstream = Upstream()
    with site(upstream):
        async with visit() as neighbour:
            await neighbour.ask("join", room=found.public_id)
            await neighbour.ask("send", room=found.public_id, content="Hi")
            for number, (name, (raw, code, error)) in enumerate(MALFORMED.items()):
                async with visit("bob") as bob:
                    await send_raw(bob, raw)
                    assert await bob.closed() == code, name
                    assert [frame["type"] for frame in bob.frames] == ["error"], name
                    assert bob.frames[0]["error"]["code"] == error, name
                upstream.say(f"{number} ")
                assert (await neighbour.event("text-delta"))["delta"] == f"{number} ", name
            upstream.finish()
            assert (await neighbour.event("message-end"))["status"] == "completed"
    assert text_of(neighbour.events) == "".join(f"{number} " for number in range(len(MALFORMED)))


@pytest.mark.parametrize("kind", SHAPES)
async def test_a_field_of_a_wrong_kind_makes_a_frame_malformed(running: Engine, kind: str) -> None:
    shape = SHAPES[kind]
    whole: dict[str, Any] = {name: {str: "x", bool: True, dict: {}}[KINDS[name]] for name in shape.required}
    wrong = [(name, value) for name in shape.required + shape.optional for value in WRONG_KINDS[KINDS[name]]]
    wrong += [(name, None) for name in shape.required]
    for name, value in [*wrong, ("ref", [])]:
        async with visit() as ann:
            await ann.send(kind, **{**whole, name: value})
            assert await ann.closed() == 4001, (name, value)


async def test_unknown_members_and_nulls_are_passed_over(running: Engine) -> None:
    room = (await run_db(own)).public_id
    async with visit() as ann:
        assert (await ann.ask("ping", colour="blue", room=7, content=[]))["type"] == "pong"
        joined = await ann.ask("join", room=room, last_event_id=None, generation=None, colour={})
        assert joined["type"] == "joined"


@pytest.mark.parametrize("ref", ["", "r" * 64, "\u00e4", 0, -1, 1.5, 2**53])
async def test_a_ref_comes_back_as_it_was(running: Engine, ref: str | float) -> None:
    async with visit() as ann:
        await ann.send("ping", ref=ref)
        assert (await ann.next()) == {"type": "pong", "ref": ref}


async def test_without_a_ref_the_answer_has_none(running: Engine) -> None:
    async with visit() as ann:
        await ann.send("ping")
        assert await ann.next() == {"type": "pong"}


async def test_a_frame_may_have_64_kib(running: Engine) -> None:
    frame = {"type": "ping", "x": ""}
    frame["x"] = "x" * (65_536 - len(orjson.dumps(frame)))
    async with visit() as ann:
        await ann.send_text(orjson.dumps(frame).decode())
        assert await ann.next() == {"type": "pong"}


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"content": ""}, "invalid_request"),
        ({"content": "  "}, "invalid_request"),
        ({}, "invalid_request"),
        ({"content": "a\0b"}, "invalid_request"),
        ({"content": "x" * 10_001}, "too_large"),
        ({"content": "Hi", "model": "none"}, "unknown_model"),
        ({"content": "Hi", "busy": "wait"}, "invalid_request"),
        ({"content": "Hi", "parent": "p" * 22}, "invalid_request"),
        ({"content": "Hi", "client_id": "c" * 129}, "too_large"),
    ],
)
async def test_a_wrong_content_is_answered_and_disturbs_nothing(
    running: Engine, members: dict[str, Any], code: str
) -> None:
    room = (await run_db(own)).public_id
    with site(MAX_PROMPT_CHARS=10_000):
        async with visit() as ann:
            await ann.ask("join", room=room)
            error = await ann.ask("send", room=room, **members)
            assert (error["type"], error["error"]["code"], error["room"]) == ("error", code, room)
            ack = await ann.ask("send", room=room, content="Fine")
            await ann.end_of(ack["generation"]["id"])


async def test_an_error_repeats_no_room_that_is_none(running: Engine) -> None:
    async with visit() as ann:
        await ann.send_text('{"type":"stop","ref":"deep","generation":"g","room":' + "[" * 400 + "]" * 400 + "}")
        answer = await ann.until(lambda frame: frame.get("ref") == "deep")
        assert (answer["error"]["code"], "room" in answer) == ("not_found", False)
