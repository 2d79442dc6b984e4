"""One run of one subject: a fresh server on a fresh database, load, and what it cost."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .client import CLOSE_WHEN_COMPLETE, HOLD, TRIGGER, Client, Request, spread
from .databases import VARIABLE, Database, Postgres, Sqlite
from .machine import Cores, busy_seconds, memory_and_threads, spin_us, wait_until_quiet
from .server import Process, free_port, serving
from .source import Answer
from .subjects import TEMPLATES, Access, Subject

#: What one run measured.
Run = dict[str, Any]

_WARM_UP = 20
_SETTLE = 0.5


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
        self._access: dict[tuple[str, str], Access | None] = {}

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
        held: dict[str, tuple[int, int]] = {}
        with self._serving(subject) as (server, access):

            def on_open() -> None:
                time.sleep(2 * _SETTLE)
                held["after"] = memory_and_threads(server.pid)

            requests = [subject.stream(load.answer, number, access) for number in range(load.size)]
            held["before"] = memory_and_threads(server.pid)
            plan = spread(requests, load.ramp, 0, HOLD)
            run = self.client.run(plan, server.port, limit=load.opening_limit, on_open=on_open)
            if "after" not in held:
                raise SystemExit(f"{subject.name}: {run['opened']} of {load.size} streams opened. {run['complaint']}")
        (memory, threads), (memory_then, threads_then) = held["before"], held["after"]
        opened = run["opened"]
        return {
            **run,
            "kib_per_stream": (memory_then - memory) / opened,
            "threads_per_stream": (threads_then - threads) / opened,
            "threads": threads_then,
            "base_mib": memory / 1024,
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
    ) -> Run:
        """Run a plan. Each token is delivered ``copies`` times; ``opening`` is time that opening may take first."""
        engine = self._engine(subject.engine)
        start: dict[str, float] = {}

        def mark() -> None:
            time.sleep(_SETTLE)
            start["server"], start["database"] = server.cpu_seconds(), engine.cpu_seconds()

        noise_before = wait_until_quiet(self._quiet_limit)
        spin = spin_us(self.cores.server)
        mark()
        busy, began = busy_seconds(), time.monotonic()
        own = start["server"] + start["database"]
        run = self.client.run(plan, server.port, limit=load.limit + opening, on_open=mark)
        # What an answer's end costs comes after its last token.
        time.sleep(_SETTLE)
        server_cpu, database_cpu = server.cpu_seconds(), engine.cpu_seconds()
        spent = server_cpu + database_cpu - own + run["cpu_s"]
        tokens = run["tokens"]
        return {
            **run,
            "offered_per_s": load.size * load.answer.rate,
            "server_us": (server_cpu - start["server"]) / tokens * 1e6 if tokens else None,
            "database_us": (database_cpu - start["database"]) / tokens * 1e6 if tokens else None,
            "request_us": (server_cpu - start["server"]) / load.size * 1e6,
            "tokens_per_read": run["tokens"] / max(1, run["reads_with_tokens"]),
            "lost": run["expected"] - run["tokens"],
            "unstored": self._unstored(subject, engine, run["expected"] // copies),
            "other_cores": (busy_seconds() - busy - spent) / (time.monotonic() - began),
            "noise_before": noise_before,
            "spin_us": spin,
            "output": server.output,
        }

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
            if upstream:
                env["BENCH_UPSTREAM"] = stack.enter_context(self._upstream(upstream))
            server = stack.enter_context(serving(subject.application, core=self.cores.server, env=env))
            self._warm_up(subject, server, access)
            yield server, access

    def _warm_up(self, subject: Subject, server: Process, access: Access | None) -> None:
        """Let every code path run once, on conversations that no measured stream uses."""
        answer = Answer(5, 100)
        last = self._conversations
        requests = [subject.stream(answer, number, access) for number in range(last - _WARM_UP, last)]
        reading = getattr(subject, "reading", False)
        flags = HOLD if reading else 0
        run = self.client.run(spread(requests, 0.5, 0 if reading else 5, flags), server.port, limit=30)
        if run["bad_status"] or run["opened"] < _WARM_UP or run["tokens"] < run["expected"]:
            raise SystemExit(f"{subject.name} does not answer. {run['complaint']}\n{server.output}")
        self._warm_tokens = run["tokens"]
        time.sleep(_SETTLE)

    @contextmanager
    def _upstream(self, answer: Answer) -> Iterator[str]:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.upstream", str(port), str(answer.tokens), str(answer.rate)]
        with Process(command, port=port, core=self.cores.client):
            yield f"http://127.0.0.1:{port}/v1"

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

    def _prepared(self, subject: Subject) -> Access | None:
        key = subject.engine, subject.template
        if key not in self._access:
            arguments = [str(self._conversations)] if subject.template == "site" else []
            output = self._engine(subject.engine).prepare(subject.template, TEMPLATES[subject.template], arguments)
            access: Mapping[str, Any] | None = json.loads(output) if output else None
            self._access[key] = Access(**access) if access else None
        return self._access[key]
