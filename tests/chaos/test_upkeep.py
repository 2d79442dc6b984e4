"""Retention and erasing beside a site at work: what should stay stays whole, and what should go is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.live.forking import run
from tests.live.servers import ROOT, environment

from .checker import check
from .plan import INSIDE, QUICK, UPSTREAM, Plan
from .record import dump
from .run import PATIENCE, Room
from .site import Services, Site

#: How long people go on asking.
SECONDS = 3.0

pytestmark = pytest.mark.timeout(240)


def manage(site: Site, *command: str) -> str:
    """Run a management command on the site's database; return what it has printed."""
    return run(["django", *command], environment(site.database.url), ROOT)


async def rooms(site: Site, directory: Path, *numbers: int) -> list[Room]:
    """Make rooms, those of even numbers alice's and the others bob's, whose histories go to a directory."""
    found = []
    for number in numbers:
        api = site.apis(("alice", "bob")[number % 2], direct=True)[0]
        found.append(Room(site, directory, number, await api.conversation()))
    return found


async def answered(rooms: Iterable[Room]) -> None:
    """Have one question asked in each room, and wait for the answers."""
    now = asyncio.get_running_loop().time()
    await asyncio.gather(*(room.talk(now) for room in rooms))
    await asyncio.gather(*(room.settle() for room in rooms))


def age(site: Site, rooms: Iterable[Room]) -> None:
    """Make it long ago that something was written in rooms."""
    for room in rooms:
        sql = "UPDATE llmstream_conversation SET updated_at = '2026-01-01 00:00:00+00:00' WHERE public_id = ?"
        site.database.execute(sql, room.conversation)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_pruning_and_erasing_beside_load(services: Services, directory: Path, database: str) -> None:
    models = (*INSIDE, *UPSTREAM[:2])
    plan = Plan("upkeep", database, database == "postgres", 2, 2, SECONDS, QUICK, models=models, linked=False)
    gone = directory / "gone"
    gone.mkdir()
    async with Site(plan, services, directory) as site, AsyncExitStack() as held_open:
        (held,), busy = await rooms(site, directory, 0), await rooms(site, directory, 2, 4)
        old, bobs = await rooms(site, gone, 6, 8, 10), await rooms(site, gone, 1, 3)
        await answered([held, *old])
        age(site, [held, *old])
        site.database.execute("UPDATE llmstream_conversation SET held = true WHERE public_id = ?", held.conversation)
        until = asyncio.get_running_loop().time() + SECONDS
        watching = [
            asyncio.create_task(room.watch(number, kind)) for room in busy for number, kind in enumerate(plan.watchers)
        ]
        talking = [asyncio.create_task(room.talk(until)) for room in busy]
        erased = [asyncio.create_task(room.talk(until)) for room in bobs]
        for task in (*watching, *talking, *erased):
            held_open.callback(task.cancel)
        printed = []
        for command in (["llmstream_prune", "--older-than", "30"], ["llmstream_erase", "bob"]) * 2:
            printed.append(await asyncio.to_thread(manage, site, *command))
        async with asyncio.timeout(2 * PATIENCE):
            await asyncio.gather(*talking)
            await asyncio.gather(*(room.settle() for room in busy))
            await asyncio.gather(*watching)
        for task in erased:  # Nobody lets bob in any more.
            task.cancel()
        await asyncio.gather(*erased, return_exceptions=True)
        dump(site.database, directory)
        assert check(directory) == []
        left = site.database.execute("SELECT public_id FROM llmstream_conversation")
        spent = site.database.execute("SELECT count(*) FROM llmstream_usagerecord WHERE conversation_id IS NULL")
        (bob,) = site.database.execute("SELECT id FROM auth_user WHERE username = 'bob'")
        assert site.database.execute("SELECT * FROM llmstream_usagerecord WHERE user_id = ?", *bob) == []
    assert {public_id for (public_id,) in left} == {room.conversation for room in [held, *busy]}
    assert "Erased: 2 conversations" in printed[1]
    # Nobody deletes what was spent.
    assert spent[0][0] >= len(old)
