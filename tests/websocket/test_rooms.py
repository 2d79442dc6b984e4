"""Rooms: joining anew and from any event id, several on one socket, several people in one, and how a room ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.events import EventId
from llmstream.models import Conversation, Membership
from tests.http.client import own
from tests.support import Upstream, check_log, site, stored, text_of, types, user
from tests.websocket.visitors import Frame, is_end, visit

pytestmark = pytest.mark.django_db(transaction=True)

WORDS = [f"word{number} " for number in range(20)]


def bare(events: Iterable[Frame]) -> list[Frame]:
    """Events without their positions."""
    return [{key: value for key, value in event.items() if key != "seq"} for event in events]


async def answered(running: Engine, room: Conversation, words: list[str]) -> str:
    """Have a prompt answered word by word; return the generation."""
    upstream = Upstream()
    with site(upstream):
        async with visit() as ann:
            await ann.ask("join", room=room.public_id)
            ack = await ann.ask("send", room=room.public_id, content="Hi")
            for word in words:
                upstream.say(word)
                await ann.event("text-delta")
            upstream.finish()
            await ann.event("message-end")
    return str(ack["generation"]["id"])


def check_frames(room: Conversation, frames: list[Frame]) -> None:
    """Check that event frames name their room, and that their ids ascend."""
    events = [frame for frame in frames if frame["type"] == "event"]
    assert {frame["room"] for frame in events} <= {room.public_id}
    ids = [frame["id"] for frame in events if frame["id"]]
    assert ids == sorted(set(ids))


async def test_a_join_from_every_event_goes_on_from_there(running: Engine) -> None:
    room = await run_db(own)
    await answered(running, room, WORDS[:6])
    log = await run_db(stored, room)
    async with visit() as ann:
        for event in log[:-1]:
            since = str(EventId(room.public_id, 1, event["seq"]))
            before = len(ann.frames)
            joined = await ann.ask("join", room=room.public_id, last_event_id=since)
            assert (joined["recovered"], joined["last_event_id"]) == (True, since)
            await ann.event("message-end")
            missed = log[event["seq"] :]
            events = [frame["event"] for frame in ann.frames[before:] if frame["type"] == "event"]
            assert text_of(events) == text_of(missed)
            assert events[-1] == bare(missed)[-1]
            check_frames(room, ann.frames[before:])


async def test_a_join_at_the_head_brings_only_what_is_new(running: Engine) -> None:
    room = await run_db(own)
    await answered(running, room, ["one"])
    head = len(await run_db(stored, room))
    async with visit() as ann:
        await ann.ask("join", room=room.public_id, last_event_id=str(EventId(room.public_id, 1, head)))
        with site():
            ack = await ann.ask("send", room=room.public_id, content="two")
            await ann.end_of(ack["generation"]["id"])
    assert types(ann.events)[0] == "message-created"
    check_frames(room, ann.frames)


@pytest.mark.parametrize(
    ("last_event_id", "reason"),
    [
        ("rubbish", "malformed"),
        ("{room}.1.000000000099", "ahead"),
        ("{room}.2.000000000001", "epoch"),
        ("r" * 22 + ".1.000000000001", "mismatch"),
    ],
)
async def test_an_id_that_cannot_be_served_leads_to_a_reset(running: Engine, last_event_id: str, reason: str) -> None:
    room = await run_db(own)
    await answered(running, room, ["one"])
    async with visit() as ann:
        joined = await ann.ask("join", room=room.public_id, last_event_id=last_event_id.format(room=room.public_id))
        snapshot = await ann.event("snapshot")
    assert joined["recovered"] is False
    assert joined["last_event_id"] == snapshot["last_event_id"]
    reset, shown = (frame for frame in ann.frames if frame["type"] == "event")
    assert (reset["id"], reset["event"]) == (None, {"type": "reset", "reason": reason})
    assert shown["id"] == snapshot["last_event_id"]


async def test_a_join_of_an_answer_ends_with_it(running: Engine) -> None:
    room = await run_db(own)
    upstream = Upstream()
    with site(upstream, BUSY="queue"):
        async with visit() as ann:
            first = (await ann.ask("send", room=room.public_id, content="one"))["generation"]["id"]
            await ann.ask("send", room=room.public_id, content="two")
            await ann.ask("join", room=room.public_id, generation=first)
            assert [item["id"] for item in (await ann.event("snapshot"))["generations"]] == [first]
            upstream.say("answer")
            await ann.event("text-delta")
            upstream.finish()
            end = await ann.until(lambda frame: frame["type"] == "end")
            assert end == {"type": "end", "room": room.public_id, "reason": "ended"}
            assert {event["generation"] for event in ann.events if event["type"] != "snapshot"} == {first}
            again = await ann.ask("join", room=room.public_id, generation=first)
            assert types(ann.events)[-1] == "message-end"
            await ann.until(lambda frame: frame["type"] == "end")
            last = [frame["id"] for frame in ann.frames if frame["type"] == "event"][-1]
            over = await ann.ask("join", room=room.public_id, generation=first, last_event_id=last)
            assert over["recovered"] is True
            assert again["recovered"] is False
            seen = len(ann.events)
            await ann.until(lambda frame: frame["type"] == "end")
            assert len(ann.events) == seen
            upstream.finish()
            await ann.ask("join", room=room.public_id)


async def test_a_generation_of_another_room_is_not_found(running: Engine) -> None:
    room = await run_db(own)
    generation = await answered(running, await run_db(own), ["one"])
    async with visit() as ann:
        assert (await ann.ask("join", room=room.public_id, generation=generation))["error"]["code"] == "not_found"


async def test_one_socket_has_many_rooms(running: Engine) -> None:
    rooms = [await run_db(own) for _ in range(5)]
    with site():
        async with visit() as ann:
            for room in rooms:
                await ann.ask("join", room=room.public_id)
            for room in rooms:
                ack = await ann.ask("send", room=room.public_id, content=f"to {room.public_id}")
                await ann.end_of(ack["generation"]["id"])
    for room in rooms:
        here = [frame for frame in ann.frames if frame.get("room") == room.public_id and frame["type"] == "event"]
        assert text_of([frame["event"] for frame in here]) == f"to {room.public_id}"
        check_frames(room, here)


async def test_two_people_and_a_model_are_in_one_room(running: Engine) -> None:
    room = await run_db(own)
    await run_db(lambda: Membership.objects.create(conversation=room, user=user("bob"), role="writer"))
    with site():
        async with visit("ann") as ann, visit("bob") as bob:
            assert (await ann.ask("join", room=room.public_id))["role"] == "owner"
            assert (await bob.ask("join", room=room.public_id))["role"] == "writer"
            for number, (speaker, other) in enumerate([(ann, bob), (bob, ann), (ann, bob)]):
                ack = await speaker.ask("send", room=room.public_id, content=f"turn {number}")
                await speaker.end_of(ack["generation"]["id"])
                await other.end_of(ack["generation"]["id"])
            names = [
                event["message"]["author"]["name"]
                for event in ann.events
                if event["type"] == "message-created" and event["message"]["author"]
            ]
            assert names == ["ann", "bob", "ann"]
            assert text_of(ann.events) == text_of(bob.events) == "turn 0turn 1turn 2"
    log = await run_db(check_log, room)
    for person in (ann, bob):
        assert bare(person.events[1:]) == bare(log)


async def test_nothing_comes_after_a_leave(running: Engine) -> None:
    room = await run_db(own)
    upstream = Upstream()
    with site(upstream):
        async with visit() as ann, visit() as other:
            for visitor in (ann, other):
                await visitor.ask("join", room=room.public_id)
            ack = await ann.ask("send", room=room.public_id, content="Hi")
            await ann.ask("leave", room=room.public_id)
            upstream.say("words")
            upstream.finish()
            await other.end_of(ack["generation"]["id"])
            assert await ann.ask("ping")
            after = ann.frames[[frame.get("reason") for frame in ann.frames].index("left") :]
            assert [frame["type"] for frame in after] == ["end", "ack", "pong"]


async def test_a_deleted_room_ends_and_the_socket_lives_on(running: Engine) -> None:
    room, other = await run_db(own), await run_db(own)
    with site(POLL_INTERVAL=0.05):
        async with visit() as ann:
            await ann.ask("join", room=room.public_id)
            await ann.ask("join", room=other.public_id)
            await run_db(room.delete)
            end = await ann.until(lambda frame: frame["type"] == "end")
            assert end == {"type": "end", "room": room.public_id, "reason": "not_found"}
            ack = await ann.ask("send", room=other.public_id, content="still here")
            await ann.end_of(ack["generation"]["id"])


async def test_commands_are_done_in_the_order_in_which_they_came(running: Engine) -> None:
    room = await run_db(own)
    with site(BUSY="queue", MAX_QUEUED=100):
        async with visit() as ann:
            for number in range(30):
                await ann.send("send", ref=number, room=room.public_id, content=f"prompt {number}")
            acks = [await ann.until(lambda frame: frame["type"] == "ack") for _ in range(30)]
    assert [ack["ref"] for ack in acks] == list(range(30))
    assert [ack["message"]["parts"][0]["text"] for ack in acks] == [f"prompt {number}" for number in range(30)]


async def test_a_busy_conversation_names_what_runs(running: Engine) -> None:
    room = await run_db(own)
    upstream = Upstream()
    with site(upstream):
        async with visit() as ann:
            first = await ann.ask("send", room=room.public_id, content="one")
            error = await ann.ask("send", room=room.public_id, content="two")
            assert error["error"]["code"] == "generation_in_progress"
            assert error["generation"]["id"] == first["generation"]["id"]
            upstream.finish()


async def speak(upstream: Upstream, words: list[str], chance: random.Random) -> None:
    """Say the words, now and then with a pause."""
    for word in words:
        upstream.say(word)
        if not chance.randint(0, 3):
            await asyncio.sleep(chance.uniform(0.0, 0.02))
    upstream.finish()


@pytest.mark.parametrize("seed", range(3))
async def test_a_client_that_is_cut_at_random_gets_every_delta_once(running: Engine, seed: int) -> None:
    chance = random.Random(seed)
    room = await run_db(own)
    upstream = Upstream()
    words = [f"{number:03} " for number in range(300)]
    frames: list[Frame] = []
    with site(upstream):
        async with visit() as ann:
            await ann.ask("join", room=room.public_id)
            generation = (await ann.ask("send", room=room.public_id, content="Count"))["generation"]["id"]
        speaker = asyncio.create_task(speak(upstream, words, chance))
        frames += [frame for frame in ann.frames if frame["type"] == "event"]
        while not is_end(frames[-1]):
            async with visit() as ann:
                await ann.ask("join", room=room.public_id, last_event_id=frames[-1]["id"])
                for _ in range(chance.randint(1, 8)):
                    if is_end(await ann.until(lambda frame: frame["type"] == "event")):
                        break
            frames += [frame for frame in ann.frames if frame["type"] == "event"]
        await speaker
    assert text_of([frame["event"] for frame in frames], generation) == "".join(words)
    check_frames(room, frames)
    await run_db(check_log, room)
