"""The driver's side of a crowd: starts its process, asks it how it is, and reads what it has measured."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil

from tests.live.history import position
from tests.live.servers import LiveServer

from .crowd import Order
from .plan import Plan
from .record import read_lines
from .site import Site

CROWD: Final = int(os.environ.get("LLMSTREAM_CROWD", "30"))
SECONDS: Final = float(os.environ.get("LLMSTREAM_CROWD_SECONDS", "2"))
BIG: Final = SECONDS > 10
#: What the processes of a large site are given; one account stands for all clients.
SITE: Final = {"MAX_STREAMS_PER_USER": 20_000}

_LINE = 64 * 1024 * 1024


def plan(name: str, webs: int, **llmstream: Any) -> Plan:
    """A site without faults of its own, with these settings changed: crowds bring theirs."""
    settings = "tests.live.sites.crowded"
    return Plan(name, "postgres", True, webs, 1, 0.0, {**SITE, **llmstream}, linked=False, settings=settings)


def order(site: Site, directory: Path, conversations: Sequence[str], **more: Any) -> Order:
    """A crowd at all processes of a site."""
    cookies = site.database.accounts["alice"].cookies
    ports = [web.port for web in site.webs]
    return Order(
        **{
            "clients": CROWD,
            "directory": str(directory),
            "cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
            "ports": ports,
            "first": ports,
            "conversations": conversations,
            "canaries": [""] * len(conversations),
            "seed": site.plan.seed,
            "ramp": max(1.0, CROWD / 100),
            **more,
        }
    )


def connected(web: LiveServer) -> int:
    """Connections that a process has to clients."""
    connections = psutil.Process(web.pid).net_connections(kind="tcp")
    return sum(c.status == psutil.CONN_ESTABLISHED and c.laddr.port == web.port for c in connections)


class CrowdProcess:
    """A crowd in a process of its own, while the ``async with`` block lasts."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.crowd", json.dumps(asdict(self.order))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _ask(self, line: str) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n".encode())
        answer = await self._process.stdout.readline()
        assert answer, "the crowd's process has ended"
        found: dict[str, Any] = json.loads(answer)
        return found

    async def until(self, wanted: Callable[[dict[str, Any]], object], patience: float) -> None:
        """Return when what the crowd says of itself is ``wanted``; raises TimeoutError."""
        async with asyncio.timeout(patience):
            while not wanted(await self._ask("how are you")):
                await asyncio.sleep(0.1)

    async def all_inside(self, patience: float = 120.0) -> None:
        """Return when every client has its stream."""
        await self.until(lambda report: report["inside"] == self.order.clients, patience)

    async def all_at(self, head: str, patience: float = 120.0) -> None:
        """Return when nobody is behind ``head``, an id of the crowd's only conversation."""
        await self.until(lambda report: report["last"] >= head, patience)

    async def stop(self) -> dict[str, Any]:
        """Send everybody home; return the figures."""
        figures = await self._ask("stop")
        assert not figures["failed"], figures["failed"][:3]
        return figures


@dataclass(frozen=True, slots=True)
class Spread:
    """How a measure is spread, in seconds."""

    count: int
    p50: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Take all values together."""
        found = sorted(values)
        if not found:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        cuts = statistics.quantiles(found, n=100, method="inclusive") if len(found) > 1 else [found[0]] * 99
        return cls(len(found), cuts[49], cuts[94], cuts[98], found[-1])

    def __str__(self) -> str:
        return f"p50 {self.p50:.3f}, p95 {self.p95:.3f}, p99 {self.p99:.3f}, most {self.most:.3f} s of {self.count}"


@dataclass(frozen=True, slots=True)
class Replays:
    """What the clients of one conversation missed while they were away, and how soon they had it."""

    #: Events that all of them together have got.
    delivered: int
    #: From the first attempt to come back to the last event that had been missed by then.
    back_to_whole: Spread
    #: From the moment at which the first client of all saw an event to the moment at which one who missed it did.
    age: Spread


def replays(directory: Path, figures: dict[str, Any], clients: int, name: str = "crowd") -> Replays:
    """Work out what came late to whom."""
    arrivals = [_arrivals(directory / f"client-{name}{number}.jsonl") for number in range(clients)]
    first: dict[int, float] = {}
    for seqs, times in arrivals:
        for seq, at in zip(seqs, times, strict=True):
            first[seq] = min(at, first.get(seq, at))
    published = sorted((at, seq) for seq, at in first.items())
    moments = [at for at, _ in published]
    whole, ages = [], []
    for coming in figures["comings"]:
        seqs, times = arrivals[coming["client"]]
        had = seqs[bisect_left(times, coming["lost"]) - 1] if times and times[0] < coming["lost"] else 0
        missed = [seq for _, seq in published[: bisect_right(moments, coming["tried"])] if seq > had]
        if not had or not missed:
            continue
        got = [times[place] for seq in missed if (place := bisect_left(seqs, seq)) < len(times)]
        whole.append(max(got) - coming["tried"])
        ages += [at - first[seq] for at, seq in zip(got, missed, strict=False)]
    return Replays(sum(len(seqs) for seqs, _ in arrivals), Spread.of(whole), Spread.of(ages))


def _arrivals(file: Path) -> tuple[Sequence[int], Sequence[float]]:
    """Return the positions that a client got and when, both in order; a snapshot is not one of them."""
    found = [
        (position(line["id"])[2], line["at"])
        for line in read_lines(file)
        if line["do"] == "event" and line["id"] and line["event"]["type"] != "snapshot"
    ]
    return [seq for seq, _ in found], [at for _, at in found]
