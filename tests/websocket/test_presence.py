"""Presence: who is there, on how many devices, what they share, and that nothing of it stays when they are gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from llmstream import presence
from llmstream.database import run_db, write_transaction
from llmstream.engine import Engine
from llmstream.models import Conversation, Membership, Node, Presence
from llmstream.presence import Seat
from tests.http.client import own
from tests.support import ask, site, user
from tests.websocket.visitors import Frame, Visitor, visit

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

QUICK: dict[str, Any] = {"PRESENCE_INTERVAL": 0.3, "POLL_INTERVAL": 0.02}


def room_of(*names: str, role: str = "writer") -> Conversation:
    """Return a conversation of ann's with these members."""
    found = own()
    for name in names:
        Membership.objects.create(conversation=found, user=user(name), role=role)
    return found


def people(frame: Frame) -> dict[str, int]:
    """Return who is there, on how many devices."""
    return {member["user"]["name"]: member["devices"] for member in frame["members"]}


async def sees(visitor: Visitor, **expected: int) -> None:
    """Wait until a list says that these are there."""
    await visitor.until(lambda frame: "members" in frame and people(frame) == expected)


async def test_the_list_follows_who_comes_and_goes(running: Engine) -> None:
    room = (await run_db(room_of, "bob")).public_id
    async with visit() as ann:
        await ann.ask("join", room=room)
        await sees(ann, ann=1)
        async with visit("bob") as bob:
            await bob.ask("join", room=room)
            await sees(bob, ann=1, bob=1)
            await sees(ann, ann=1, bob=1)
            async with visit("bob") as phone:
                await phone.ask("join", room=room)
                await sees(ann, ann=1, bob=2)
            await sees(ann, ann=1, bob=1)
            await bob.ask("leave", room=room)
            await sees(ann, ann=1)
            await bob.ask("join", room=room)
            await sees(ann, ann=1, bob=1)
        await sees(ann, ann=1)
    await until_gone(room)


async def until_gone(room: str) -> None:
    """Wait until nobody is stored as present."""
    while await run_db(Presence.objects.filter(conversation__public_id=room).exists):
        pass


async def test_a_member_is_told_by_name_and_id(running: Engine) -> None:
    room = (await run_db(own)).public_id
    async with visit() as ann:
        await ann.ask("join", room=room)
        frame = await ann.until(lambda frame: frame["type"] == "presence")
    pk = (await run_db(user, "ann")).pk
    assert frame == {
        "type": "presence",
        "room": room,
        "members": [{"user": {"id": str(pk), "name": "ann"}, "devices": 1}],
    }


async def test_a_join_anew_is_no_second_device(running: Engine) -> None:
    room = (await run_db(own)).public_id
    async with visit() as ann:
        for _ in range(3):
            await ann.ask("join", room=room)
        answer = await ann.ask("presence", room=room)
        assert people(answer) == {"ann": 1}


async def test_who_has_joined_is_there_for_whoever_asks_next(running: Engine) -> None:
    room = (await run_db(own)).public_id
    async with visit() as ann, visit() as other:
        await ann.ask("join", room=room)
        for _ in range(10):
            await other.ask("join", room=room)
            assert people(await other.ask("presence", room=room)) == {"ann": 2}
            await other.ask("leave", room=room)
            assert people(await ann.ask("presence", room=room)) == {"ann": 1}


async def test_everybody_who_joins_is_told_who_is_there(running: Engine) -> None:
    """Even when the list is the same as before: one device went as another came."""
    room = (await run_db(own)).public_id
    async with visit() as ann:
        await ann.ask("join", room=room)
        await sees(ann, ann=1)
        for _ in range(3):
            async with visit() as other:
                await other.ask("join", room=room)
                await sees(other, ann=2)


async def test_a_state_is_shown_to_the_others_as_it_is(running: Engine) -> None:
    room = (await run_db(room_of, "bob", role="reader")).public_id
    state = {"cursor": {"line": 3}, "colour": "\u00e4", "list": [1, None, True]}
    async with visit() as ann, visit("bob") as bob:
        for visitor in (ann, bob):
            await visitor.ask("join", room=room)
        mine = await bob.ask("presence", room=room, state=state)
        shown = await ann.until(lambda frame: "state" in frame)
        assert shown == {key: value for key, value in mine.items() if key != "ref"}
        assert (shown["state"], shown["user"]["name"], shown["room"]) == (state, "bob", room)
        async with visit() as late:
            await late.ask("join", room=room)
            assert (await late.until(lambda frame: "state" in frame)) == shown
        await bob.ask("presence", room=room, state=None)
        over = await ann.until(lambda frame: "state" in frame)
        assert over == {**shown, "state": None}
        async with visit() as later:
            await later.ask("join", room=room)
            await later.until(lambda frame: "members" in frame)
            assert not any("state" in frame for frame in later.frames)
        assert not [frame for frame in bob.frames if "state" in frame and "ref" not in frame]


async def test_a_state_has_1_kib(running: Engine) -> None:
    room = (await run_db(own)).public_id
    async with visit() as ann:
        await ann.ask("join", room=room)
        assert (await ann.ask("presence", room=room, state={"x": "x" * 1_016}))["type"] == "presence"
        refused = await ann.ask("presence", room=room, state={"x": "x" * 1_017})
        assert refused["error"]["code"] == "too_large"


@pytest.mark.parametrize("way", ["leave", "close"])
async def test_what_a_connection_shares_ends_with_it(running: Engine, way: str) -> None:
    room = (await run_db(room_of, "bob")).public_id
    async with visit() as ann:
        await ann.ask("join", room=room)
        async with visit("bob") as bob:
            await bob.ask("join", room=room)
            await bob.send("typing", room=room)
            await bob.ask("presence", room=room, state={"x": 1})
            await ann.seen(lambda frame: frame["type"] == "typing" and frame["active"])
            await ann.seen(lambda frame: frame.get("state") == {"x": 1})
            if way == "leave":
                await bob.ask("leave", room=room)
        await ann.seen(lambda frame: "state" in frame and frame["state"] is None)
        await ann.seen(lambda frame: frame["type"] == "typing" and not frame["active"])


async def test_typing_is_shown_to_the_others_and_stored_nowhere(running: Engine) -> None:
    found = await run_db(room_of, "bob")
    room = found.public_id
    async with visit() as ann, visit("bob") as bob:
        for visitor in (ann, bob):
            await visitor.ask("join", room=room)
        for members, active in (({}, True), ({"active": False}, False), ({"active": True}, True)):
            await bob.send("typing", room=room, **members)
            frame = await ann.until(lambda frame: frame["type"] == "typing")
            assert frame == {"type": "typing", "room": room, "user": frame["user"], "active": active}
            assert frame["user"]["name"] == "bob"
        await bob.ask("ping")
        assert not [frame for frame in bob.frames if frame["type"] == "typing"]
    await run_db(found.refresh_from_db)
    assert found.head == 0


async def test_who_may_no_longer_write_no_longer_types(running: Engine) -> None:
    room = (await run_db(room_of, "bob")).public_id
    with site(ACCESS_INTERVAL=0.0):
        async with visit() as ann, visit("bob") as bob:
            for visitor in (ann, bob):
                await visitor.ask("join", room=room)
            await bob.send("typing", room=room)
            await ann.until(lambda frame: frame["type"] == "typing")
            await run_db(lambda: Membership.objects.update(role="reader"))
            refused = await bob.ask("typing", room=room)
            assert refused["error"]["code"] == "permission_denied"


async def test_a_visitor_has_no_name(running: Engine) -> None:
    with site(ALLOW_ANONYMOUS=True):
        found = await run_db(lambda: Conversation.objects.create(anonymous_id="v" * 22))
        attendees = await run_db(seated, found.pk, "", "v" * 22)
    assert attendees.members == [{"user": None, "devices": 1}]


def seated(conversation: int, name: str, anonymous_id: str = "") -> Any:
    """Seat somebody on a node of its own; return who is there."""
    seat = Seat(conversation, "c" * 22, user(name).pk if name else None, anonymous_id)
    presence.record(None, [seat], [seat], [])
    return presence.who([conversation])[conversation]


def test_who_is_on_a_dead_node_is_not_there(transactional_db: None) -> None:
    room = own()
    assert seated(room.pk, "ann").connections == {"c" * 22}
    Node.objects.update(expires_at=Now() - timedelta(seconds=1))
    assert presence.who([room.pk])[room.pk].members == []
    presence.sweep()
    assert not Presence.objects.exists()
    assert not Node.objects.exists()


def test_a_node_that_lives_is_not_swept(transactional_db: None) -> None:
    room = own()
    seated(room.pk, "ann")
    presence.sweep()
    assert presence.who([room.pk])[room.pk].connections


def test_a_node_that_was_swept_comes_back_with_all_its_seats(transactional_db: None) -> None:
    rooms = [own() for _ in range(3)]
    seats = [Seat(room.pk, "c" * 22, user("ann").pk, "") for room in rooms]
    node = presence.record(None, seats[:2], seats[:2], [])
    Node.objects.all().delete()
    again = presence.record(node, seats, seats[2:], [])
    assert again != node
    assert all(presence.who([room.pk])[room.pk].connections for room in rooms)


def test_what_is_gone_keeps_nobody_else_out(transactional_db: None) -> None:
    room, deleted = own(), own("bob")
    seats = [Seat(found.pk, "c" * 22, user("ann").pk, "") for found in (room, deleted)]
    seats.append(Seat(room.pk, "d" * 22, 987_654, ""))
    deleted.delete()
    presence.record(None, seats, seats, [])
    assert presence.who([room.pk])[room.pk].connections == {"c" * 22}


def test_many_leave_together(transactional_db: None) -> None:
    room = own()
    seats = [Seat(room.pk, f"{number:022}", user("ann").pk, "") for number in range(250)]
    node = presence.record(None, seats, seats, [])
    assert presence.who([room.pk])[room.pk].members[0]["devices"] == 250
    presence.record(node, seats[:1], [], seats[1:])
    assert presence.who([room.pk])[room.pk].connections == {f"{0:022}"}


def expire_others(after: timedelta, first: Callable[[], object] = lambda: None) -> None:
    """Do something, and let the nodes without ann live so long from now; no sweep comes in between."""
    with write_transaction(DEFAULT_DB_ALIAS):
        first()
        Node.objects.exclude(presences__user__username="ann").update(expires_at=Now() + after)


async def test_who_comes_by_another_process_is_found_without_a_message(running: Engine) -> None:
    found = await run_db(room_of, "bob")
    with site(**QUICK):
        async with visit() as ann:
            await ann.ask("join", room=found.public_id)
            await sees(ann, ann=1)
            await run_db(expire_others, timedelta(minutes=1), lambda: seated(found.pk, "bob"))
            await sees(ann, ann=1, bob=1)
            await run_db(expire_others, timedelta(seconds=-1))
            await sees(ann, ann=1)


async def test_a_process_that_slept_is_back_with_its_next_beat(running: Engine) -> None:
    found = await run_db(own)
    with site(**QUICK):
        async with visit() as ann:
            await ann.ask("join", room=found.public_id)
            await sees(ann, ann=1)
            await run_db(Node.objects.all().delete)
            async with visit() as other:
                await other.ask("join", room=found.public_id)
                await sees(other, ann=2)


async def test_what_another_process_shares_ends_with_its_connection(running: Engine) -> None:
    found = await run_db(room_of, "bob")
    with site(**QUICK):
        async with visit() as ann:
            await ann.ask("join", room=found.public_id)
            bob = {"id": "7", "name": "bob"}
            message = {"type": "typing", "connection": "c" * 22, "user": bob, "value": True}
            running.hear(found.pk, message)
            assert (await ann.until(lambda frame: frame["type"] == "typing"))["active"] is True
            assert (await ann.until(lambda frame: frame["type"] == "typing"))["active"] is False


async def test_no_presence_is_written_for_those_who_only_command(running: Engine) -> None:
    found = await run_db(own)
    with site():
        async with visit() as ann:
            await ann.ask("send", room=found.public_id, content="Hi")
    assert not await run_db(Presence.objects.exists)


async def test_a_room_of_a_finished_answer_is_left_by_itself(running: Engine) -> None:
    sent = await run_db(lambda: ask(own()))
    with site():
        async with visit() as ann:
            await ann.ask("join", room=sent.conversation.public_id, generation=sent.generation.public_id)
            await ann.ask("stop", generation=sent.generation.public_id)
            await ann.seen(lambda frame: frame["type"] == "end")
            answer = await ann.ask("presence", room=sent.conversation.public_id)
            assert answer["error"]["code"] == "not_found"
            await until_gone(sent.conversation.public_id)


async def test_a_state_that_is_too_deep_is_refused_and_keeps_nobody_out(running: Engine) -> None:
    room = (await run_db(room_of, "bob", "eve", role="reader")).public_id
    async with visit("eve") as eve, visit("bob") as bob:
        await eve.ask("join", room=room)
        for depth in (200, 253, 254, 255, 400):
            state = '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"
            await eve.send_text(f'{{"type":"presence","ref":{depth},"room":"{room}","state":{state}}}')
            answer = await eve.until(lambda frame, ref=depth: frame.get("ref") == ref)  # type: ignore[misc]
            assert depth == 200 or answer["error"]["code"] == "invalid_request", depth
        await bob.ask("join", room=room)
        await sees(bob, bob=1, eve=1)


def test_presences_are_written_in_the_order_in_which_conversations_are_locked() -> None:
    found = [own() for _ in range(3)]
    seats = [Seat(item.pk, "c" * 22, None, "") for item in (found[2], found[0], found[1])]
    presence.record(None, seats, seats, [])
    written = Presence.objects.order_by("pk").values_list("conversation", flat=True)
    assert list(written) == [item.pk for item in found], "otherwise a flush of these rooms and this wait for each other"
