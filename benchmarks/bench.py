"""One run of one subject: a fresh server on a fresh database, load, and what it cost."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .client import CLOSE_WHEN_COMPLETE, HOLD, KEEP, TRIGGER, WEBSOCKET, Client, Request, spread
from .databases import VARIABLE, Database, Postgres, Sqlite
from .layers import Layer
from .listeners import FIRST_OWN_ROOM, ROOM, WARM_UP_ROOM, Listener
from .machine import Cores, busy_seconds, memory_and_threads, spin_us, wait_until_quiet
from .server import Process, free_port, serving
from .source import Answer
from .subjects import TEMPLATES, Access, Subject

#: What one run measured.
Run = dict[str, Any]

_WARM_UP = 20
_SETTLE = 0.5
#: Seconds in which it is over what follows the arrival of the last of many sockets: the others are told who is there.
_ARRIVAL = 5.0
#: Seconds over which the work for idle sockets is counted, and in which a room may be silent before a run is ended.
_IDLE = 10.0
_SILENCE = 10.0
#: Seconds that a delivery may take before a run is given up: slow is not lost.
_DELIVERY = 0.001


@dataclass(frozen=True, slots=True)
class Load:
    """The load of a part: so many streams of this answer, opened over ``ramp`` seconds."""

    size: int
    answer: Answer
    ramp: float

    @property
    def limit(self) -> float:
        """A run that takes longer than this does not hold the load."""
        return 2 * (self.ramp + self.answer.seconds) + 20

    @property
    def opening_limit(self) -> float:
        """Longest time until all streams of a run are open."""
        return self.ramp + 0.06 * self.size


class Bench:
    """The client, the databases and the cores of one benchmark session; everything it starts it stops."""

    def __init__(self, home: Path, cores: Cores, *, conversations: int, quiet_limit: float) -> None:
        self.cores = cores
        self.client = Client(home, cores.client)
        self._home = home
        self._quiet_limit = quiet_limit
        self._conversations = conversations
        self._stack = ExitStack()
        self._engines: dict[str, Database] = {}
        self._valkey: Layer | None = None
        self._access: dict[tuple[str, str], Access] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def answers(self, subject: Subject, load: Load, upstream: Answer | None = None) -> Run:
        """Stream answers, each asked for by its own request; ``upstream``: by a model in another process."""
        with self._serving(subject, upstream) as (server, access):
            requests = [subject.stream(load.answer, number, access) for number in range(load.size)]
            plan = spread(requests, load.ramp, load.answer.tokens)
            return self._measure(subject, server, plan, load)

    def viewers(self, subject: Subject, load: Load) -> Run:
        """Let many viewers follow one answer; what counts begins when all of them are there."""
        with self._serving(subject) as (server, access):
            watching = spread([subject.viewer(access)] * load.size, load.ramp, load.answer.tokens, CLOSE_WHEN_COMPLETE)
            plan = [*watching, Request(subject.start(load.answer, access), load.ramp, 0, TRIGGER)]
            return self._measure(subject, server, plan, load, copies=load.size, opening=load.opening_limit)

    def open(self, subject: Subject, load: Load) -> Run:
        """Hold streams open before their first token, and see what each one keeps."""
        with self._serving(subject) as (server, access):
            requests = [subject.stream(load.answer, number, access) for number in range(load.size)]
            return self._hold(subject, server, spread(requests, load.ramp, 0, HOLD), load, settle=2 * _SETTLE)

    def rooms(self, subject: Listener, load: Load) -> Run:
        """Let many sockets in one room follow one answer; what counts begins and ends while all of them are there."""
        with self._serving(subject) as (server, access):
            plan = _room(subject, access, load, ROOM)
            patience = load.opening_limit + _ARRIVAL + load.size * load.answer.tokens * _DELIVERY
            return self._measure(
                subject, server, plan, load, copies=load.size, opening=patience, settle=_ARRIVAL, quiet=_SILENCE
            )

    def sockets(self, subject: Listener, load: Load) -> Run:
        """Hold sockets open, each in a room of its own, and see what each one keeps and costs."""
        with self._serving(subject) as (server, access):
            rooms = [(number, FIRST_OWN_ROOM + number) for number in range(load.size)]
            plan = _sockets(subject, access, rooms, load.ramp, 0, HOLD)
            return self._hold(subject, server, plan, load, settle=_ARRIVAL, idle=_IDLE)

    def _hold(
        self,
        subject: Subject,
        server: Process,
        plan: Sequence[Request],
        load: Load,
        *,
        settle: float,
        idle: float = 0.0,
    ) -> Run:
        """Run a plan of streams that are held open; ``idle`` are seconds over which their CPU time is taken."""
        held: dict[str, tuple[int, int]] = {}
        spent = 0.0

        def on_open() -> None:
            nonlocal spent
            time.sleep(settle)
            before = server.cpu_seconds()
            time.sleep(idle)
            spent = server.cpu_seconds() - before
            held["after"] = memory_and_threads(server.pid)

        held["before"] = memory_and_threads(server.pid)
        limit = load.opening_limit + settle + idle
        run = self.client.run(plan, server.port, limit=limit, on_open=on_open)
        if "after" not in held:
            raise SystemExit(
                f"{subject.name}: {run['opened']} of {load.size} streams opened. {run['complaint']}\n{server.output}"
            )
        (memory, threads), (memory_then, threads_then) = held["before"], held["after"]
        opened = run["opened"]
        return {
            **run,
            "kib_per_stream": (memory_then - memory) / opened,
            "threads_per_stream": (threads_then - threads) / opened,
            "threads": threads_then,
            "base_mib": memory / 1024,
            "idle_cores": spent / idle if idle else None,
        }

    def _measure(
        self,
        subject: Subject,
        server: Process,
        plan: Sequence[Request],
        load: Load,
        *,
        copies: int = 1,
        opening: float = 0.0,
        settle: float = _SETTLE,
        quiet: float = 20.0,
    ) -> Run:
        """Run a plan. Each token is delivered ``copies`` times; ``opening`` is time that opening may take first.

        What counts begins ``settle`` seconds after all streams of a plan with a trigger are open.
        """
        meters = self._meters(subject, server)
        start: dict[str, float] = {}
        end: dict[str, float] = {}

        def read(figures: dict[str, float]) -> None:
            figures.update({name: meter() for name, meter in meters.items()})

        def on_open() -> None:
            time.sleep(settle)
            read(start)

        def on_end() -> None:
            # What an answer's end costs comes after its last token.
            time.sleep(_SETTLE)
            read(end)

        noise_before = wait_until_quiet(self._quiet_limit)
        spin = spin_us(self.cores.server)
        time.sleep(_SETTLE)
        read(start)
        busy, began, before = busy_seconds(), time.monotonic(), sum(start.values())
        run = self.client.run(
            plan, server.port, limit=load.limit + opening, quiet=quiet, on_open=on_open, on_end=on_end
        )
        spent = sum(end.values()) - before + run["cpu_s"]
        tokens = run["tokens"]
        costs = {f"{name}_us": (end[name] - start[name]) / tokens * 1e6 if tokens else None for name in meters}
        return {
            **run,
            **costs,
            "offered_per_s": load.size * load.answer.rate,
            "request_us": (end["server"] - start["server"]) / load.size * 1e6,
            "tokens_per_read": run["tokens"] / max(1, run["reads_with_tokens"]),
            "lost": run["expected"] - run["tokens"],
            "unstored": self._unstored(subject, self._engine(subject.engine), run["expected"] // copies),
            "other_cores": (busy_seconds() - busy - spent) / (time.monotonic() - began),
            "noise_before": noise_before,
            "spin_us": spin,
            "output": server.output,
        }

    def _meters(self, subject: Subject, server: Process) -> dict[str, Callable[[], float]]:
        """The CPU times that a subject's load takes."""
        meters = {"server": server.cpu_seconds, "database": self._engine(subject.engine).cpu_seconds}
        return meters | ({"layer": self._layer().cpu_seconds} if subject.layer else {})

    def _unstored(self, subject: Subject, engine: Database, expected: int) -> int | None:
        """How many tokens of the run are missing where they should be kept; None for what keeps nothing."""
        counts = [engine.number(query) - self._warm_tokens for query in subject.stored()]
        return expected - min(counts) if counts else None

    @contextmanager
    def _serving(self, subject: Subject, upstream: Answer | None = None) -> Iterator[tuple[Process, Access | None]]:
        env: dict[str, str] = dict(subject.env)
        access = None
        with ExitStack() as stack:
            if subject.engine:
                access = self._prepared(subject)
                env[VARIABLE] = self._engine(subject.engine).copy(subject.template)
            if subject.layer:
                env |= self._layer().renew(subject.layer)
            if upstream:
                env["BENCH_UPSTREAM"] = stack.enter_context(self._upstream(upstream))
            server = stack.enter_context(serving(subject.application, core=self.cores.server, env=env))
            self._warm_up(subject, server, access)
            yield server, access

    def _warm_up(self, subject: Subject, server: Process, access: Access | None) -> None:
        """Let every code path run once, on conversations that no measured stream uses."""
        answer, ramp = Answer(5, 100), 0.5
        copies = 1
        if isinstance(subject, Listener):
            plan, copies = _room(subject, access, Load(_WARM_UP, answer, ramp), WARM_UP_ROOM), _WARM_UP
        else:
            last = self._conversations
            requests = [subject.stream(answer, number, access) for number in range(last - _WARM_UP, last)]
            reading = getattr(subject, "reading", False)
            plan = spread(requests, ramp, 0 if reading else answer.tokens, HOLD if reading else 0)
        run = self.client.run(plan, server.port, limit=30)
        if run["bad_status"] or run["opened"] < _WARM_UP or run["tokens"] < run["expected"]:
            raise SystemExit(f"{subject.name} does not answer. {run['complaint']}\n{server.output}")
        self._warm_tokens = run["tokens"] // copies
        time.sleep(_SETTLE)

    @contextmanager
    def _upstream(self, answer: Answer) -> Iterator[str]:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.upstream", str(port), str(answer.tokens), str(answer.rate)]
        with Process(command, port=port, core=self.cores.client):
            yield f"http://127.0.0.1:{port}/v1"

    def _layer(self) -> Layer:
        if self._valkey is None:
            self._valkey = Layer()
            self._stack.callback(self._valkey.close)
        return self._valkey

    def _engine(self, name: str) -> Database:
        if (engine := self._engines.get(name)) is None:
            if name == "postgres":
                postgres = Postgres(self.cores.client)
                self._stack.callback(postgres.close)
                engine = postgres
            else:
                engine = Sqlite(self._home)
            self._engines[name] = engine
        return engine

    def _prepared(self, subject: Subject) -> Access:
        key = subject.engine, subject.template
        if key not in self._access:
            arguments = [str(self._conversations)]
            output = self._engine(subject.engine).prepare(subject.template, TEMPLATES[subject.template], arguments)
            self._access[key] = Access(**json.loads(output))
        return self._access[key]


def _room(subject: Listener, access: Access | None, load: Load, room: int) -> list[Request]:
    """Sockets in one room that follow one answer."""
    seats = [(number, room) for number in range(load.size)]
    listening = _sockets(subject, access, seats, load.ramp, load.answer.tokens, KEEP)
    return [*listening, Request(subject.ask(load.answer, access, room), load.ramp, 0, TRIGGER)]


def _sockets(
    subject: Listener, access: Access | None, seats: Sequence[tuple[int, int]], ramp: float, tokens: int, flags: int
) -> list[Request]:
    """Sockets of these users in these rooms, opened evenly over ``ramp`` seconds."""
    step = ramp / len(seats)
    opening = [subject.socket(access, *seat) for seat in seats]
    return [
        Request(shake, index * step, tokens, flags | WEBSOCKET, message)
        for index, (shake, message) in enumerate(opening)
    ]
