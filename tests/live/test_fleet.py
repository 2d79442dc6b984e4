"""A whole site under a crowd: web processes, workers, PostgreSQL and a layer, of which any may fail at any time.

``LLMSTREAM_FLEET`` is the number of clients. Each follows one room over SSE or WebSocket, in turn, loses its connection
every now and then, and goes on at a random process.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import pytest

from tools.services.valkey import ValkeyServer

from .api import Api, Sent, find
from .clients import CUTS, Reader, connect, ends, read_aiohttp
from .conftest import QUICK, Rig
from .history import History, Received, check
from .servers import Database, LiveServer
from .sites.provider import script
from .sockets import read_socket

CLIENTS: Final = int(os.environ.get("LLMSTREAM_FLEET", "60"))
ROOMS, ANSWERS, TOKENS, PACE = 6, 3, 150, 0.02
PATIENCE: Final = 240.0
SITE: Final = {
    **QUICK,
    "LEASE": 3.0,
    "BROKER": "llmstream.brokers.channels.ChannelsBroker",
    "RUNNER": "llmstream.runners.worker.WorkerRunner",
}


@dataclass(slots=True)
class Room:
    """A conversation, what was asked in it, and the last answer as soon as there is one."""

    conversation: str
    sent: list[Sent] = field(default_factory=list)
    last: asyncio.Future[str] = field(default_factory=asyncio.Future)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The processes of the site."""

    webs: list[LiveServer]
    workers: list[LiveServer]
    valkey: ValkeyServer
    database: Database

    def anywhere(self) -> Api:
        """Return alice at a random web process, dead or alive."""
        return Api(random.choice(self.webs).url, self.database.accounts["alice"])


@pytest.fixture(scope="module")
def fleet(module_rig: Rig) -> Iterator[Fleet]:
    """Three web processes and two workers."""
    with ValkeyServer() as valkey:
        database = module_rig.database("postgres")
        launch = partial(
            module_rig.launch,
            database=database,
            settings="tests.live.sites.cluster",
            llmstream=SITE,
            env={"REDIS_URL": valkey.url},
        )
        webs = [launch("uvicorn") for _ in range(3)]
        workers = [launch("worker") for _ in range(2)]
        for web in webs:
            web.wait_ready()
        yield Fleet(webs, workers, valkey, database)
        for server in (*webs, *workers):
            server.kill()


async def stubborn(act: Callable[[Api], Awaitable[Sent]], fleet: Fleet) -> Sent:
    """Ask at one process after the other until one answers."""
    while True:
        try:
            return await act(fleet.anywhere())
        except CUTS:
            await asyncio.sleep(0.05)


async def talk(fleet: Fleet, room: Room) -> None:
    """Ask one question after the other, each when the answer before it has ended."""
    for number in range(ANSWERS):

        def ask(api: Api, name: str = f"{room.conversation}-{number}") -> Awaitable[Sent]:
            return api.send(script(TOKENS, PACE), to=room.conversation, client_id=name, busy="queue")

        room.sent.append(await stubborn(ask, fleet))
    room.last.set_result(room.sent[-1].generation)


async def attend(fleet: Fleet, room: Room, reader: Reader, luck: random.Random) -> History:
    """Follow a room to the end of its last answer, over ever new connections."""
    history = History()
    while not (room.last.done() and over(history, room.last.result())):
        enough = len(list(history.events)) + luck.randint(3, 60)

        def satisfied(event: Received, enough: int = enough) -> bool:
            done = room.last.done() and ends(room.last.result())(event)
            return done or len(list(history.events)) >= enough

        call = fleet.anywhere().call(f"conversations/{room.conversation}/events/")
        await connect(reader, call.resumed(history.last_id), history, until=satisfied)
        await asyncio.sleep(luck.uniform(0, 0.2))
    return history


def over(history: History, generation: str) -> bool:
    """Whether a client has seen the end of a generation."""
    return any(ends(generation)(event) for event in history.events)


async def trouble(fleet: Fleet) -> None:
    """Kill, flush and freeze the layer, then kill a web process and a worker."""
    for act in (
        fleet.valkey.flush,
        fleet.valkey.kill,
        fleet.valkey.start,
        fleet.webs[0].kill,
        fleet.webs[0].start,
        fleet.valkey.pause,
        fleet.workers[0].kill,
        fleet.workers[0].start,
        fleet.valkey.resume,
        fleet.valkey.restart,
    ):
        await asyncio.sleep(1.0)
        await asyncio.to_thread(act)


@pytest.mark.timeout(PATIENCE + 60)
async def test_a_crowd_sees_everything_once_whatever_fails(fleet: Fleet) -> None:
    luck = random.Random(os.environ.get("LLMSTREAM_SEED", "fleet"))
    rooms = [Room(await fleet.anywhere().conversation()) for _ in range(ROOMS)]
    readers: list[Reader] = [read_aiohttp, read_socket]
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for room in rooms:
            group.create_task(talk(fleet, room))
        crowd = [
            (rooms[number % ROOMS], group.create_task(attend(fleet, rooms[number % ROOMS], reader, luck)))
            for number in range(CLIENTS)
            for reader in [readers[number // ROOMS % len(readers)]]
        ]
        group.create_task(trouble(fleet))
    events = 0
    for room in rooms:
        state = await fleet.anywhere().settled(room.conversation)
        statuses = {generation["id"]: generation["status"] for generation in state["generations"]}
        for history in [task.result() for where, task in crowd if where is room]:
            events += len(list(history.events))
            for sent in room.sent:
                check(history, sent.generation, find(state, sent.message), status=statuses[sent.generation])
    print(f"{CLIENTS} clients, {events} events, 0 lost, 0 doubled")
