"""What a seed says: the shape of the site, its clients, and every fault with its moment."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: What may happen to what, and for how long at most, in seconds. ``web`` and ``link`` stand for one of several.
FAULTS: Final[Mapping[str, Mapping[str, float]]] = {
    "web": {"kill": 1.5, "terminate": 1.5, "pause": 6.0},
    "link": {"cut": 0.0, "refuse": 1.0, "half-open": 4.0, "black hole": 4.0, "slow": 3.0, "far": 3.0, "brittle": 3.0},
    "postgres": {"restart": 1.0, "terminate": 0.0, "cut": 0.0, "black hole": 3.0, "far": 2.0, "full": 2.0},
    "sqlite": {"lock": 3.0, "full": 2.0},
    "layer": {"kill": 1.5, "pause": 2.0, "flush": 0.0, "cut": 0.0, "black hole": 2.0},
    "upstream": {"cut": 0.0, "far": 2.0, "black hole": 3.0},
}
#: Behaviours of the fake upstream that prompts ask for; see ``tests.upstream``.
UPSTREAM: Final = (
    "answer?tokens=80&rate=40",
    "answer?tokens=20&rate=200&usage=0",
    "answer?tokens=300&joined=1",
    "cut?after=15",
    "broken?after=4",
    "silent?after=6",
    "status?code=500",
)
#: Models that live in the processes of the site.
INSIDE: Final = ("paced", "going on")
#: Who follows a room, beside the one who asks.
WATCHERS: Final = ("sse", "sse", "socket", "poll")
#: A process that died is given up soon, and a client that hears nothing knows why.
QUICK: Final[Mapping[str, Any]] = {
    "LEASE": 3.0,
    "SWEEP_INTERVAL": 1.0,
    "POLL_INTERVAL": 0.3,
    "HEARTBEAT": 1.0,
    "WRITE_TIMEOUT": 3.0,
}
_GAP: Final = 0.5, 1.6


@dataclass(frozen=True, slots=True)
class Act:
    """One fault: when it begins after the start of the run, on what, and how long it lasts."""

    at: float
    target: str
    number: int
    what: str
    lasts: float

    def __str__(self) -> str:
        name = f"{self.target} {self.number}" if self.target in {"web", "link"} else self.target
        return f"{self.at:.2f} s: {name}: {self.what}" + (f" for {self.lasts:.2f} s" if self.lasts else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is drawn from a seed."""

    seed: str
    database: str
    layer: bool
    webs: int
    rooms: int
    #: How long people go on asking; with ``prompts`` each asks so many questions instead.
    seconds: float
    llmstream: Mapping[str, Any] = field(default_factory=lambda: QUICK)
    acts: tuple[Act, ...] = ()
    prompts: int = 0
    models: tuple[str, ...] = (*INSIDE, *UPSTREAM)
    watchers: tuple[str, ...] = WATCHERS
    #: Whether the processes reach database, layer and model over links, which cost time.
    linked: bool = True
    #: The settings of its processes, when they are not those of any site with or without a layer.
    settings: str = ""

    def luck(self, who: str) -> random.Random:
        """Return the random numbers of one part of the run: what another part draws does not move them."""
        return random.Random(f"{self.seed}:{who}")

    def __str__(self) -> str:
        layer = "with a layer" if self.layer else "without a layer"
        lines = [f"seed {self.seed}: {self.webs} processes on {self.database} {layer}, {self.rooms} rooms"]
        return "\n  ".join([*lines, *map(str, self.acts)])


def draw(seed: str, *, seconds: float, rooms: int = 4, database: str = "") -> Plan:
    """Draw a plan; ``database`` overrides what the seed says of it."""
    luck = random.Random(seed)
    shape = luck.choice(["sqlite", "postgres"]), luck.random() < 0.7, luck.choice([2, 2, 3])
    kind, layer, webs = database or shape[0], shape[1], shape[2]
    llmstream = {
        **QUICK,
        "STREAM_LIFETIME": luck.choice([4.0, 600.0]),
        "TAIL_BYTES": luck.choice([1_024, 32_768]),
        "PAGE_BYTES": luck.choice([2_048, 262_144]),
        "DATABASE_THREADS": luck.choice([1, 3]),
    }
    acts = _acts(luck, seconds, ["web", "link", kind, "upstream", *(["layer"] if layer else [])], webs)
    return Plan(seed, kind, layer, webs, rooms, seconds, llmstream, acts)


def _acts(luck: random.Random, seconds: float, targets: list[str], webs: int) -> tuple[Act, ...]:
    """Draw faults that overlap, but never two at once on the same thing."""
    acts: list[Act] = []
    busy: dict[tuple[str, int], float] = {}
    at = luck.uniform(0.2, 0.8)
    while at < seconds:
        target = luck.choice(targets)
        number = luck.randrange(webs) if target in {"web", "link"} else 0
        what, longest = luck.choice(list(FAULTS[target].items()))
        lasts = luck.uniform(0.2, 1.0) * longest
        if busy.get((target, number), 0.0) <= at:
            acts.append(Act(at, target, number, what, lasts))
            busy[target, number] = at + lasts
        at += luck.uniform(*_GAP)
    return tuple(acts)
