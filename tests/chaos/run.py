"""One run: a site, its clients and a schedule of faults, from the first prompt to the checker's verdict."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.live.sites.provider import script
from tests.upstream import Upstream

from .checker import check
from .clients import Talker, Watcher
from .plan import Act, Plan
from .record import Recorder, dump, read_lines, write_lines
from .site import Services, Site

#: Seconds that everything may take to come to rest once all faults are over.
PATIENCE: Final = 60.0
#: Seconds that one question and its answer may take, faults and all.
PROMPT: Final = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found wrong with a run, and how much happened in it."""

    plan: Plan
    directory: Path
    violations: list[str]
    figures: dict[str, int]

    def __str__(self) -> str:
        figures = ", ".join(f"{count} {name}" for name, count in self.figures.items())
        found = "\n  ".join([f"{len(self.violations)} violations", *self.violations[:20]])
        return f"seed {self.plan.seed}: {figures}; {found}"


class Room:
    """One conversation, whose everything the driver keeps together."""

    def __init__(self, site: Site, directory: Path, number: int, conversation: str) -> None:
        self._site = site
        self._directory = directory
        self.name = f"r{number}"
        self.user = ("alice", "bob")[number % 2]
        self.conversation = conversation
        self.head: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def canary(self) -> str:
        """What no one else may ever see."""
        return f"canary-{self.name}-{self.user}"

    async def talk(self, until: float) -> None:
        """Ask question after question until the loop's time ``until``, one at least."""
        luck, loop = self._site.plan.luck(f"{self.name} talk"), asyncio.get_running_loop()
        number = 0
        while not number or (number < self._site.plan.prompts if self._site.plan.prompts else loop.time() < until):
            number += 1
            order = json.loads(script(luck.choice([5, 60, 200]), luck.choice([0.0, 0.01, 0.03])))
            prompt = json.dumps({**order, "canary": self.canary})
            with self._recorder(f"post{number}", "generation") as recorder:
                apis = self._site.apis(self.user)
                talker = Talker(self.name, self.conversation, self._site.plan.models, apis, luck, recorder)
                await talker.ask(number, prompt, stop=luck.random() < 0.25)

    async def watch(self, number: int, kind: str) -> None:
        """Follow the room to its end."""
        luck = self._site.plan.luck(f"{self.name} {kind} {number}")
        with self._recorder(f"{kind}{number}", "conversation") as recorder:
            apis = self._site.apis(self.user)
            await Watcher(kind, self.conversation, self.head, apis, luck, recorder).run()

    def _recorder(self, name: str, scope: str) -> Recorder:
        return Recorder(
            self._directory,
            f"{self.name}-{name}",
            conversation=self.conversation,
            scope=scope,
            canary=self.canary,
        )

    async def settle(self) -> None:
        """Wait until nothing is active in the room, and tell the watchers where it ends."""
        state = await self._site.apis(self.user, direct=True)[0].settled(self.conversation, patience=PATIENCE)
        self.head.set_result(state["last_event_id"])


async def perform(plan: Plan, services: Services, directory: Path) -> Outcome:
    """Run a plan and check what it left in ``directory``."""
    (directory / "plan.txt").write_text(f"{plan}\n", encoding="utf-8")
    async with Site(plan, services, directory) as site:
        broken = await _drive(site, directory)
        dump(site.database, directory)
        write_lines(directory / "upstream.jsonl", _exchanges(site.upstream))
        write_lines(directory / "faults.jsonl", ({"act": str(act)} for act in plan.acts))
    return Outcome(plan, directory, [*broken, *check(directory)], _figures(directory))


async def _drive(site: Site, directory: Path) -> list[str]:
    """Let clients and faults loose; return what kept it from coming to rest."""
    loop = asyncio.get_running_loop()
    until = loop.time() + site.plan.seconds
    rooms = []
    for number in range(site.plan.rooms):
        api = site.apis(("alice", "bob")[number % 2], direct=True)[0]
        rooms.append(Room(site, directory, number, await api.conversation()))
    try:
        asking = site.plan.seconds + site.plan.prompts * PROMPT
        async with asyncio.timeout(asking + 2 * PATIENCE), AsyncExitStack() as held:
            watching = [
                asyncio.create_task(room.watch(number, kind))
                for room in rooms
                for number, kind in enumerate(site.plan.watchers)
            ]
            talking = [asyncio.create_task(room.talk(until)) for room in rooms]
            for task in (*watching, *talking):
                held.callback(task.cancel)
            locks: dict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
            start = loop.time()
            await asyncio.gather(*(_happen(site, act, start, locks[act.target, act.number]) for act in site.plan.acts))
            await asyncio.gather(*talking)
            await asyncio.gather(*(room.settle() for room in rooms))
            await asyncio.gather(*watching)
        write_lines(directory / "states.jsonl", await _states(site, rooms))
    except Exception as error:
        (directory / "driver.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return [f"I9: the run did not come to rest: {error!r}; see driver.txt"]
    return []


async def _happen(site: Site, act: Act, start: float, lock: asyncio.Lock) -> None:
    """Let a fault befall a thing that is well again: to start a process may take longer than was planned."""
    await asyncio.sleep(max(0.0, start + act.at - asyncio.get_running_loop().time()))
    async with lock:
        await site.begin(act)
        await asyncio.sleep(act.lasts)
        await site.end(act)


async def _states(site: Site, rooms: Iterable[Room]) -> list[dict[str, object]]:
    """Ask every process for every room."""
    return [
        {"web": number, **await api.state(room.conversation)}
        for room in rooms
        for number, api in enumerate(site.apis(room.user, direct=True))
    ]


def _exchanges(upstream: Upstream) -> Iterable[dict[str, object]]:
    for exchange in upstream.exchanges:
        generation = exchange.headers.get("x-client-request-id", "")
        yield {"generation": generation, "model": exchange.model, "tokens": exchange.tokens}


def _figures(directory: Path) -> dict[str, int]:
    """Count what happened."""
    did = Counter(line["do"] for file in directory.glob("client-*.jsonl") for line in read_lines(file))
    ends = Counter(row["status"] for row in read_lines(directory / "table-generations.jsonl"))
    clients = len(list(directory.glob("client-*.jsonl")))
    faults = sum(1 for _ in read_lines(directory / "faults.jsonl"))
    return {
        "faults": faults,
        "histories": clients,
        "events seen": did["event"],
        "connections": did["connect"],
        "cut": did["cut"],
        **ends,
    }
