"""Many open streams need few database connections."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from .api import Api, find
from .clients import follow, read_aiohttp
from .conftest import Rig
from .events import text_of
from .history import History, Received, check
from .servers import Database
from .sites.provider import answer, script

STREAMS = 200
VIEWERS = 8
TOKENS = 8
#: Without a pool: what the executor and the writer hold, and what Django's request threads leave behind under
#: CONN_MAX_AGE until it is collected. Far from one for each stream.
FEW = 40
#: Of the pooled site; a request that waits for another one's connection takes that long.
POOL_TIMEOUT = 20


def connections(database: Database) -> int:
    """Clients' connections to the database, other than our own."""
    ((count,),) = database.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = ? AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
        database.url.rpartition("/")[2],
    )
    return int(count)


async def sampled(database: Database, work: asyncio.Task[None]) -> list[int]:
    """Count the connections a few times a second until ``work`` is done.

    A server process lives on for a moment when its client has gone and another one has come, so what counts is what
    two looks in a row have seen.
    """
    counts = []
    while not work.done():
        counts.append(await asyncio.to_thread(connections, database))
        await asyncio.wait([work], timeout=0.2)
    await work
    return [min(pair) for pair in pairwise(counts)]


class Viewers:
    """Everybody opens their stream, then all the answers start at once, each with several viewers."""

    def __init__(self, api: Api) -> None:
        self.api = api
        #: The middleware of these sites opens a connection per request, so not everybody may come at once.
        self.door = asyncio.Semaphore(20)
        self.opened = 0
        self.all_open = asyncio.Event()
        self.all_asked = asyncio.Event()

    async def all(self) -> None:
        """Run everything and check every viewer's history."""
        conversations = [await self.api.conversation() for _ in range(STREAMS // VIEWERS)]
        histories = {conversation: [History() for _ in range(VIEWERS)] for conversation in conversations}
        async with asyncio.TaskGroup() as group:
            for conversation, viewers in histories.items():
                for history in viewers:
                    group.create_task(self._view(conversation, history))
            await self.all_open.wait()
            prompts = [await self.api.send(script(TOKENS, 0.6), to=conversation) for conversation in conversations]
            self.all_asked.set()
        for sent in prompts:
            stored = find(await self.api.state(sent.conversation), sent.message)
            assert text_of(stored) == answer(TOKENS)
            for history in histories[sent.conversation]:
                assert len(history.connections) == 1
                check(history, sent.generation, stored)

    async def _view(self, conversation: str, history: History) -> None:
        await self.door.acquire()
        call = self.api.call(f"conversations/{conversation}/events/", timeout=60)
        await follow(read_aiohttp, call, history=history, until=self._until, patience=100)

    def _until(self, event: Received) -> bool:
        if event.type == "snapshot":
            self.door.release()
            self.opened += 1
            if self.opened == STREAMS:
                self.all_open.set()
        return event.type == "message-end"


@pytest.mark.parametrize(
    ("kind", "settings", "limit"),
    [("uvicorn", "pooled", 4), ("uvicorn-plain", "pooled", 4), ("uvicorn-plain", "conn_max_age", FEW)],
)
async def test_200_open_streams(rig: Rig, kind: str, settings: str, limit: int) -> None:
    database = rig.database("postgres")
    # The lease is the default one: all answers together keep two cores busy.
    server = rig.server(kind, database, settings=f"tests.live.sites.{settings}")
    viewers = Viewers(Api(server.url, database.accounts["alice"]))
    work = asyncio.create_task(viewers.all())
    asked = asyncio.create_task(viewers.all_asked.wait())
    await asyncio.wait([work, asked], return_when=asyncio.FIRST_COMPLETED)
    counts = await sampled(database, work)
    asked.cancel()
    print(f"{kind} {settings}: {STREAMS} streams, server connections {min(counts)}-{max(counts)}")
    assert len(counts) > 5
    # A pool is a bound at all times; without one the connections of the requests before need a moment to go.
    assert max(counts if settings == "pooled" else counts[len(counts) // 2 :]) <= limit, counts


@pytest.mark.parametrize("kind", ["uvicorn", "uvicorn-plain"])
async def test_requests_do_not_wait_for_each_others_pooled_connections(rig: Rig, kind: str) -> None:
    """More requests at once than the pool has connections, each with one that the middleware has taken already."""
    database = rig.database("postgres")
    api = Api(rig.server(kind, database, settings="tests.live.sites.pooled").url, database.accounts["alice"])
    conversation = await api.conversation()
    calls = [
        *(api.request("GET", f"conversations/{conversation}/") for _ in range(10)),
        *(api.request("POST", "conversations/", json={}) for _ in range(10)),
        *(
            api.request("GET", f"conversations/{conversation}/events/", headers={"Accept": "application/json"})
            for _ in range(10)
        ),
    ]
    async with asyncio.timeout(POOL_TIMEOUT):
        responses = await asyncio.gather(*calls)
    assert {response.status_code for response in responses} == {200, 201}
