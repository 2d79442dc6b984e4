"""Sockets on real servers: streaming, stopping, cuts, closing, and clients that read nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack

import psutil
import pytest

from .api import Api
from .clients import ends, follow, read_httpx
from .conftest import QUICK, Rig
from .servers import LiveServer
from .sites.provider import answer, script
from .sockets import Frame, Socket, opened

#: The servers for which the claims about sockets are made.
SERVERS = ("uvicorn", "uvicorn-wsproto", "daphne")


@pytest.fixture(scope="module", params=SERVERS)
def server(module_rig: Rig, request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """Each server, one after the other."""
    server = module_rig.server(request.param, llmstream=QUICK)
    yield server
    server.kill()


def text(frames: list[Frame]) -> str:
    """The text that the deltas among these event frames add up to."""
    return "".join(frame["event"]["delta"] for frame in frames if frame["event"]["type"] == "text-delta")


async def test_an_answer_streams_and_the_other_transport_goes_on_from_it(server: LiveServer, alice: Api) -> None:
    room = await alice.conversation()
    async with opened(server, alice.account) as socket:
        joined = await socket.ask("join", room=room)
        assert joined["type"] == "joined"
        await socket.send("send", room=room, content=script(20, 0.02), ref="sent")
        middle = await socket.until(lambda frame: frame.get("event", {}).get("type") == "text-delta")
        sent = next(frame for frame in socket.frames if frame.get("ref") == "sent")
        history = await follow(
            read_httpx,
            alice.call(f"conversations/{room}/events/"),
            last_event_id=middle["id"],
            until=ends(sent["generation"]["id"]),
        )
        await socket.end_of(sent["generation"]["id"])
    assert text(socket.events) == answer(20)
    later = [(event.id, event.data) for event in history.events]
    assert later == [(frame["id"], frame["event"]) for frame in socket.events if frame["id"] > middle["id"]]


async def test_a_stop_is_heard_while_the_answer_streams(server: LiveServer, alice: Api) -> None:
    room = await alice.conversation()
    async with opened(server, alice.account) as socket:
        await socket.ask("join", room=room)
        sent = await socket.ask("send", room=room, content=script(10_000, 0.005))
        await socket.until(lambda frame: frame.get("event", {}).get("type") == "text-delta")
        stopped = await socket.ask("stop", generation=sent["generation"]["id"])
        assert stopped["generation"]["status"] == "stopped"


async def test_cuts_lose_nothing_and_repeat_nothing(server: LiveServer, alice: Api) -> None:
    chance = random.Random(server.kind)
    room = await alice.conversation()
    sent = await alice.send(script(200, 0.005), to=room)
    since = sent.last_event_id
    frames: list[Frame] = []
    while not frames or frames[-1]["event"]["type"] != "message-end":
        async with opened(server, alice.account) as socket:
            await socket.ask("join", room=room, last_event_id=since)
            for _ in range(chance.randint(1, 15)):
                frame = await socket.until(lambda frame: frame["type"] == "event")
                if frame["event"]["type"] == "message-end":
                    break
            socket.connection.transport.abort()
            frames += socket.events
            since = frames[-1]["id"]
    ids = [frame["id"] for frame in frames]
    assert ids == sorted(set(ids))
    assert text(frames) == answer(200)


@pytest.mark.parametrize(
    ("frame", "code"),
    [('{"type":"dance"}', 4001), (b"\x00", 4001), ('"' + "x" * 66_000 + '"', 4013)],
    ids=["unknown", "binary", "large"],
)
async def test_close_codes_reach_the_client(server: LiveServer, alice: Api, frame: str | bytes, code: int) -> None:
    async with opened(server, alice.account) as socket:
        await socket.connection.send(frame)
        assert await socket.closed() == code
    assert [frame["type"] for frame in socket.frames] == ["error"]


async def test_visitors_are_closed_with_a_code(server: LiveServer) -> None:
    async with opened(server, None) as socket:
        assert await socket.closed() == 4401
    assert socket.frames[0]["error"]["code"] == "not_authenticated"


async def test_frames_in_pieces_are_whole_frames(server: LiveServer, alice: Api) -> None:
    async with opened(server, alice.account) as socket:
        await socket.connection.send(['{"type":', '"ping"', ',"ref":1}'])
        assert await socket.until(lambda _: True) == {"type": "pong", "ref": 1}
        await socket.connection.send('{"type":"ping","ref":"日本🙂"}')
        assert await socket.until(lambda _: True) == {"type": "pong", "ref": "日本🙂"}


#: What the client sees when the server is told to end. uvicorn writes 1012 by itself before an application hears of it.
SHUTDOWN_CODES = {"daphne": {4100, 1006}, "uvicorn": {1012}, "uvicorn-wsproto": {1012}}


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_server_that_shuts_down_lets_its_sockets_go(rig: Rig, kind: str) -> None:
    server = rig.server(kind, llmstream=QUICK)
    alice = Api(server.url, server.database.accounts["alice"])
    room = await alice.conversation()
    async with opened(server, alice.account) as socket:
        await socket.ask("join", room=room)
        ending = asyncio.get_running_loop().run_in_executor(None, server.terminate)
        assert await socket.closed() in SHUTDOWN_CODES[kind]
        await ending


async def refill(alice: Api, room: str, messages: int) -> str:
    """Fill a conversation with messages of half a megabyte; return the id from before them."""
    first = ""
    for number in range(messages):
        sent = await alice.send(f"{number} ".ljust(500_000, "x"), to=room)
        first = first or sent.last_event_id
        await alice.settled(room)
    return first


def established(process: psutil.Process) -> int:
    """Return how many connections a server holds."""
    return sum(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp"))


@pytest.mark.parametrize("kind", ["uvicorn", "uvicorn-websockets", "uvicorn-wsproto"])
async def test_clients_that_read_nothing_are_given_up_and_cost_little(rig: Rig, kind: str) -> None:
    server = rig.server(
        kind, llmstream={**QUICK, "WRITE_TIMEOUT": 3.0, "MAX_PROMPT_CHARS": 1_000_000, "MAX_BODY_BYTES": 2_000_000}
    )
    alice = Api(server.url, server.database.accounts["alice"])
    room = await alice.conversation()
    since = await refill(alice, room, 24)
    process = psutil.Process(server.pid)
    async with AsyncExitStack() as stack:
        quick = await stack.enter_async_context(opened(server, alice.account))
        await quick.ask("join", room=room)
        await quick.until(lambda frame: "members" in frame)  # after all of the snapshot
        before, alone = process.memory_info().rss, established(process)
        slow = [opened(server, alice.account, receive_buffer=4_096, max_queue=1) for _ in range(8)]
        sockets: list[Socket] = [await stack.enter_async_context(each) for each in slow]
        for socket in sockets:
            await socket.send("join", room=room, last_event_id=since)
        await quick.until(lambda frame: "members" in frame and frame["members"][0]["devices"] > 1)
        most = 0
        while (await quick.ask("presence", room=room))["members"][0]["devices"] > 1:
            most = max(most, process.memory_info().rss - before)
            await asyncio.sleep(0.1)
        assert most < 50_000_000, "eight clients with 12 MB to read, more than the kernel takes"
        # Cut, and not only closed: what they never read is not kept for them.
        async with asyncio.timeout(30):
            while established(process) > alone:
                await asyncio.sleep(0.1)
        # The quick one was served all along, and goes on.
        sent = await quick.ask("send", room=room, content=script(3, 0.0))
        assert sent["type"] == "ack"
        codes = {await socket.closed() for socket in sockets}
        assert codes <= {4108, 1006}
