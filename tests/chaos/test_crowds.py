"""Crowds: what happens to many clients at once.

``LLMSTREAM_CROWD`` is the number of clients, 30 by default, and ``LLMSTREAM_CROWD_SECONDS`` for how long they follow.
The figures are printed: ``-s`` shows them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.live.api import Api, Sent
from tests.live.servers import Database
from tests.live.sites.provider import script

from .checker import check
from .load import BIG, CROWD, SECONDS, SITE, CrowdProcess, Spread, connected, order, plan, replays
from .plan import Plan
from .record import dump, read_lines
from .site import Services, Site

#: Messages a second that everybody follows.
RATE: Final = 2.0
#: Clients that read, beside those that do not.
READERS: Final = 10 if BIG else 3
pytestmark = pytest.mark.timeout(1_200 if BIG or CROWD > 100 else 180)


def answer_of(seconds: float) -> str:
    """A prompt whose answer takes so long, ``RATE`` messages a second."""
    return script(round(seconds * RATE), 1 / RATE)


async def finished(api: Api, sent: Sent, crowd: CrowdProcess, seconds: float) -> None:
    """Wait for the end of an answer that takes so long, and for everybody to have it."""
    await asyncio.sleep(seconds)
    state = await api.settled(sent.conversation, patience=120.0)
    await crowd.all_at(state["last_event_id"])


def all_well(database: Database, directory: Path) -> None:
    """Check what everybody saw."""
    dump(database, directory)
    found = check(directory)
    assert not found, found[:20]


async def test_jitter(services: Services, directory: Path) -> None:
    """Everybody's connection goes again and again; they are away for a while, and come back anywhere."""
    async with Site(plan("jitter", 3 if BIG else 2), services, directory) as site:
        api = site.apis("alice", direct=True)[0]
        room = await api.conversation()
        going = order(
            site, directory, [room], cut_every=15.0 if BIG else 0.8, offline=2.0 if BIG else 0.3
        )  # fmt: skip
        async with CrowdProcess(going) as crowd:
            await crowd.until(lambda report: report["inside"] > CROWD * 0.6, 120)
            sent = await api.send(answer_of(SECONDS), to=room)
            await finished(api, sent, crowd, SECONDS)
            figures = await crowd.stop()
        all_well(site.database, directory)
    found = replays(directory, figures, CROWD)
    cuts = len(figures["comings"]) - CROWD
    events = next(read_lines(directory / "table-conversations.jsonl"))["head"]
    print(
        f"jitter: {CROWD} clients, {events} messages at {RATE:g} a second, {cuts} cuts,"
        f" 0 of {CROWD * events} lost or doubled ({found.delivered} deliveries, the rest joined by replay);"
        f" whole again after coming back: {found.back_to_whole}; age of what was missed: {found.age}"
    )


async def test_reconnect_storm(services: Services, directory: Path) -> None:
    """The process that everybody is at is killed; all come back to the others while an answer goes on."""
    async with Site(plan("storm", 3 if CROWD > 500 else 2, TICKET_LIFETIME=900), services, directory) as site:
        doomed, *others = site.webs
        api = site.apis("alice", direct=True)[1]
        room = await api.conversation()
        going = order(site, directory, [room], first=[doomed.port], ports=[web.port for web in others])
        async with CrowdProcess(going) as crowd:
            await crowd.all_inside()
            length = SECONDS + CROWD / 200
            sent = await api.send(answer_of(length), to=room)
            await asyncio.sleep(0.5)
            killed = time.time()
            doomed.kill()
            await crowd.until(lambda report: report["cut"] >= CROWD, 60)
            await crowd.all_inside()
            await finished(api, sent, crowd, max(0.0, killed + length - time.time()))
            figures = await crowd.stop()
        all_well(site.database, directory)
    back = [coming["back"] - killed for coming in figures["comings"] if coming["lost"] >= killed - 0.5]
    whole = sum(coming["ticket"] for coming in figures["comings"] if coming["back"] > killed)
    came = {coming["client"] for coming in figures["comings"] if coming["back"] > killed}
    found = replays(directory, figures, CROWD)
    print(
        f"storm: {len(came)} of {CROWD} back at {len(others)} processes: {Spread.of(back)} after the kill;"
        f" {whole} of them by a whole request; whole again: {found.back_to_whole}"
    )
    assert len(came) == CROWD
    # All had a ticket, which is good at every process.
    assert not whole


def memory(site: Site) -> int:
    """Bytes that the first process holds."""
    return int(psutil.Process(site.webs[0].pid).memory_info().rss)


async def lags(site: Site, directory: Path, room: str, model: str, name: str) -> tuple[Spread, int]:
    """Have an answer followed by ten clients that read; return by how much each event came after its commit."""
    api = site.apis("alice", direct=True)[0]
    peak = [memory(site)]
    async with CrowdProcess(
        order(site, directory, [room], clients=READERS, name=name, ramp=0.1, leaves=True)
    ) as readers:
        await readers.all_inside()
        sent = await api.send("go", to=room, model=model)
        watching = asyncio.create_task(_watch(lambda: peak.append(memory(site))))
        await readers.all_at(await _ended(site, sent))
        watching.cancel()
        await readers.stop()
    rows = await asyncio.to_thread(
        site.database.execute,
        "SELECT e.seq, e.created_at FROM llmstream_event e JOIN llmstream_conversation c ON c.id = e.conversation_id"
        " WHERE c.public_id = ?",
        room,
    )
    made = {seq: moment.timestamp() for seq, moment in rows}
    late = [
        line["at"] - made[seq]
        for number in range(READERS)
        for line in read_lines(directory / f"client-{name}{number}.jsonl")
        if line["do"] == "event" and line["event"]["type"] == "text-delta"
        for seq in [int(line["id"].rpartition(".")[2])]
    ]
    return Spread.of(late), max(peak)


async def _ended(site: Site, sent: Sent) -> str:
    """Return the id of an answer's end once it is stored; a process that is asked has to build all of its text."""
    statement = "SELECT end_seq FROM llmstream_generation WHERE public_id = ?"
    async with asyncio.timeout(120.0):
        while (end := (await asyncio.to_thread(site.database.execute, statement, sent.generation))[0][0]) is None:
            await asyncio.sleep(0.05)
    return f"{sent.last_event_id.rpartition('.')[0]}.{end:012d}"


async def _watch(look: Callable[[], None]) -> None:
    while True:
        look()
        await asyncio.sleep(0.1)


async def left(site: Site, patience: float = 120.0) -> None:
    """Return when the first process has no connection to a client any more."""
    async with asyncio.timeout(patience):
        while connected(site.webs[0]):
            await asyncio.sleep(0.2)


async def test_silent_clients_cost_little_hold_nobody_up_and_are_cut_off(services: Services, directory: Path) -> None:
    """Nobody reads an answer of megabytes on many connections; some beside them read it, as others did before."""
    model = "answer?huge=60000&tokens=100&rate=10" if BIG else "answer?huge=100000&tokens=40&rate=8"
    # Of the small run's answer all is said beside them; a pause of the machine is but a part of that time.
    llmstream = {**SITE, "MAX_ANSWER_CHARS": 10_000_000, "WRITE_TIMEOUT": 2.0 if BIG else 6.0}
    quiet = Plan("silent", "postgres", False, 1, 1, 0.0, llmstream, models=(model,), linked=False)
    async with Site(quiet, services, directory) as site:
        rooms = [await site.apis("alice", direct=True)[0].conversation() for _ in range(2)]
        alone, before = await lags(site, directory, rooms[0], model, "alone")
        going = order(site, directory, [rooms[1]], name="silent", silent=True, leaves=True)
        async with CrowdProcess(going) as silent:
            async with asyncio.timeout(120):
                while connected(site.webs[0]) < CROWD:
                    await asyncio.sleep(0.1)
            beside, peak = await lags(site, directory, rooms[1], model, "beside")
            # They still hold their ends, and have taken nothing for longer than a client may.
            await left(site)
            await silent.stop()
        after = memory(site)
        all_well(site.database, directory)
    grown = max(peak - before, 0)
    print(
        f"silent: {CROWD} clients that read nothing: {grown / 1e6:.1f} MB more at the peak than without them,"
        f" {grown / CROWD / 1e3:.0f} kB each, {(after - before) / 1e6:.1f} MB when they were cut off;"
        f" those that read: alone {alone}; beside them {beside}"
    )
    # What the server's buffer and part of a page take; what events of this size take to be read comes once.
    assert grown < 30e6 + CROWD * 0.22e6
    assert beside.p50 < alone.p50 + 0.1
