"""Presence over two server processes of one site, also after one of them was killed."""

from __future__ import annotations

import pytest

from .api import Api
from .conftest import QUICK, Rig
from .servers import LiveServer
from .sockets import Socket, opened

PRESENCE = {**QUICK, "PRESENCE_INTERVAL": 0.5}


@pytest.fixture(params=["sqlite", "postgres"])
def pair(rig: Rig, request: pytest.FixtureRequest) -> tuple[LiveServer, LiveServer]:
    """Two servers on one database, without a broker between them."""
    database = rig.database(request.param)
    first, second = (rig.launch("uvicorn", database, llmstream=PRESENCE) for _ in range(2))
    return first.wait_ready(), second.wait_ready()


async def sees(socket: Socket, devices: int) -> None:
    """Wait until a list says that the user is there on so many devices."""
    await socket.until(lambda frame: "members" in frame and frame["members"][0]["devices"] == devices)


async def test_presence_is_right_after_a_server_was_killed(pair: tuple[LiveServer, LiveServer]) -> None:
    here, there = pair
    alice = Api(here.url, here.database.accounts["alice"])
    room = await alice.conversation()
    async with opened(here, alice.account) as mine:
        await mine.ask("join", room=room)
        await sees(mine, 1)
        async with opened(there, alice.account) as other, opened(there, alice.account) as third:
            for socket in (other, third):
                await socket.ask("join", room=room)
                await sees(socket, 3 if socket is third else 2)
            await sees(mine, 3)
            await third.ask("leave", room=room)
            await sees(mine, 2)
            there.kill()
            await sees(mine, 1)
        there.start().wait_ready()
        async with opened(there, alice.account) as again:
            await again.ask("join", room=room)
            await sees(again, 2)
            await sees(mine, 2)
    rows = here.database.execute("SELECT COUNT(*) FROM llmstream_node")
    assert rows[0][0] <= 3
