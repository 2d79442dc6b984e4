"""Frames that ask for something: what each does, and how it is answered."""

from __future__ import annotations

import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import Generation
from tests.http.client import own
from tests.support import Upstream, check_log, ended, site, text_of, within
from tests.websocket.visitors import visit

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_prompt_is_answered_in_the_room(running: Engine) -> None:
    room = (await run_db(own)).public_id
    with site():
        async with visit() as ann:
            joined = await ann.ask("join", room=room)
            assert joined == {
                "type": "joined",
                "ref": "r1",
                "room": room,
                "last_event_id": f"{room}.1.000000000000",
                "recovered": False,
                "role": "owner",
            }
            assert (await ann.event("snapshot"))["messages"] == []
            ack = await ann.ask("send", room=room, content="Hello", client_id="one")
            assert ack["type"] == "ack"
            assert ack["client_id"] == "one"
            assert ack["message"]["parts"] == [{"type": "text", "text": "Hello"}]
            await ann.end_of(ack["generation"]["id"])
            assert text_of(ann.events) == "Hello"
            again = await ann.ask("send", room=room, content="Hello", client_id="one")
            assert again["generation"]["id"] == ack["generation"]["id"]


async def test_a_stop_is_heard_while_a_room_streams(running: Engine) -> None:
    found = await run_db(own)
    upstream = Upstream()
    with site(upstream):
        async with visit() as ann:
            await ann.ask("join", room=found.public_id)
            ack = await ann.ask("send", room=found.public_id, content="Hi")
            upstream.say("some ", "text")
            await ann.event("text-delta")
            stopped = await ann.ask("stop", generation=ack["generation"]["id"])
            assert stopped["generation"]["status"] == "stopped"
            await within(upstream.closed.wait())
            retried = await ann.ask("retry", generation=ack["generation"]["id"])
            assert retried["generation"]["attempt"] == 2
            upstream.finish()
            left = await ann.ask("leave", room=found.public_id)
            assert left == {"type": "ack", "ref": left["ref"], "room": found.public_id}
            assert {"type": "end", "room": found.public_id, "reason": "left"} in ann.frames
            assert await ann.ask("ping") == {"type": "pong", "ref": "r6"}
        await ended(await run_db(Generation.objects.get, public_id=retried["generation"]["id"]))
    await run_db(check_log, found)


async def test_a_branch_is_chosen_for_every_socket_in_its_place_among_the_events(running: Engine) -> None:
    found = await run_db(own)
    with site():
        async with visit() as ann, visit() as tab:
            for socket in (ann, tab):
                await socket.ask("join", room=found.public_id)
            first = await ann.ask("send", room=found.public_id, content="Hi")
            await tab.end_of(first["generation"]["id"])
            second = await ann.ask("retry", generation=first["generation"]["id"], client_id="again")
            repeat = await tab.ask("retry", generation=first["generation"]["id"], client_id="again")
            assert (repeat["generation"]["id"], repeat["client_id"]) == (second["generation"]["id"], "again")
            await tab.end_of(second["generation"]["id"])
            old = first["generation"]["message"]
            ack = await ann.ask("choose", room=found.public_id, leaf=old)
            seen = await tab.until(lambda frame: frame["type"] == "event" and frame["event"]["type"] == "branch-chosen")
            assert (ack["leaf"], ack["last_event_id"], seen["event"]["leaf"]) == (old, seen["id"], old)
            # Who comes back from before the choice sees it, and who comes anew has it in the snapshot.
            await tab.ask("join", room=found.public_id, last_event_id=second["last_event_id"])
            assert (await tab.event("branch-chosen"))["leaf"] == old
            await tab.ask("join", room=found.public_id)
            assert (await tab.event("snapshot"))["leaf"] == old
            edited = await ann.ask("send", room=found.public_id, content="Hey", edits=first["message"]["id"])
            assert edited["message"]["parent"] is None
    await run_db(check_log, found)
