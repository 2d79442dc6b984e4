"""Tools over a socket: what waits is decided by a frame, and a steering message has a receipt."""

from __future__ import annotations

import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from tests.http.client import own
from tests.support import ask_in, check_log, ended, site, stored_one, until
from tests.tools.site import agent, order
from tests.websocket.visitors import visit

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_call_is_steered_approved_and_told(running: Engine) -> None:
    with site(models={"default": agent("wipe")}):
        room = await run_db(own)
        sent = await ask_in(running, room, order([("wipe", {"what": "a"})]))
        await stored_one(room, "tool-approval-request")
        await until(lambda: not running.runs)
        generation = sent.generation.public_id
        async with visit() as ann:
            await ann.ask("join", room=room.public_id)
            steered = await ann.ask("steer", generation=generation, content="Be quick")
            decided = await ann.ask("approve", generation=generation, call="call_0_0")
            assert (steered["type"], decided["type"]) == ("ack", "ack")
            await ann.seen(lambda frame: frame.get("event", {}).get("type") == "message-end")
            events = {frame["event"]["type"]: frame["event"] for frame in ann.frames if frame["type"] == "event"}
            late = await ann.ask("deny", generation=generation, call="call_0_0")
        assert (await ended(sent.generation)).status == "completed"
        await run_db(check_log, room)
    response, result = events["tool-approval-response"], events["tool-result"]
    accepted, end = events["steer-accepted"], events["message-end"]
    assert (response["decision"], response["by"]["name"], result["output"]) == ("approve", "ann", "wiped a")
    assert (accepted["steer"], accepted["content"], end["status"]) == (steered["steer"], "Be quick", "completed")
    assert (late["error"]["code"], late["tool_call"]["decision"]) == ("tool_call_decided", "approve")
