"""Reading over HTTP: streams and long polls."""

from __future__ import annotations

import asyncio
import re

import orjson
import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.log.transaction import events_committed
from tests.http.client import JSON, Call, conversation_path, own, signed_in
from tests.http.streaming import answered, frames, start_of
from tests.support import ask, site, types, until, within

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_long_poll_finds_what_another_process_wrote(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    owner = await run_db(own)
    path = conversation_path(owner, f"events/?wait=600&after={owner.last_event_id}")
    with site(POLL_INTERVAL=0.05, LONG_POLL_MAX=600.0):
        polling = asyncio.ensure_future(client.get(path, headers=JSON))
        await until(lambda: [topic for topic in running.hub.topics.values() if topic.head is not None])
        events_committed.disconnect(running._committed)
        await run_db(ask, owner)
        response = await within(polling)
    assert orjson.loads(response.content)["events"][0]["type"] == "message-created"


async def test_a_stream_that_is_asked_to_begins_with_ready(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    generation = await run_db(answered)
    call = Call(client, f"{start_of(generation)}&ready=1")
    await within(call())
    assert types(frames(call.body))[0] == "ready"
    assert re.search(rb'data: {"type":"ready","process":"[A-Za-z0-9]{22}","heartbeat_ms":15000}\n\n', call.body)


async def test_one_answer_can_be_polled(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    generation = await run_db(answered)
    await run_db(ask, generation.conversation, "Another one")
    path = start_of(generation)
    response = await within(client.get(path, headers=JSON))
    polled = orjson.loads(response.content)
    assert types(polled["events"])[-1] == "message-end"
    assert {event["generation"] for event in polled["events"]} == {generation.public_id}
    path = path.partition("?")[0] + f"?after={polled['last_event_id']}"
    assert (await within(client.get(path, headers=JSON))).status_code == 204
