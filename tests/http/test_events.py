"""Reading over HTTP: streams and long polls."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.log.transaction import events_committed
from tests.http.client import JSON, conversation_path, own, signed_in
from tests.support import ask, site, until, within

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_long_poll_finds_what_another_process_wrote(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    owner = await run_db(own)
    path = conversation_path(owner, f"events/?wait=10&after={owner.last_event_id}")
    with site(POLL_INTERVAL=0.05):
        polling = asyncio.ensure_future(client.get(path, headers=JSON))
        await until(lambda: [topic for topic in running.hub.topics.values() if topic.head is not None])
        events_committed.disconnect(running._committed)
        await run_db(ask, owner)
        response = await within(polling, 3.0)
    assert orjson.loads(response.content)["events"][0]["type"] == "message-created"
