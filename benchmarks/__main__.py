"""The benchmark suite's command."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from . import listeners, report, subjects
from .bench import Bench, Load, Run
from .goals import goals
from .machine import Cores, describe
from .results import Record, Results
from .source import Answer
from .subjects import Subject

_TOKENS, _RATE = 200, 50.0
#: Longer than any stream is held open.
_HELD_BACK = 100.0
_PACKAGES = (
    *("django", "uvicorn", "uvloop", "httptools", "wsproto", "starlette", "channels", "channels-redis", "redis"),
    *("openai", "aiohttp", "psycopg", "orjson"),
)
_PARTS = ["answers", "requests", "open", "viewers", "upstream", "rooms", "sockets"]
_QUICK_PARTS = ["answers", "open", "viewers", "upstream"]
_QUICK_CASES = ["raw", "django", "starlette-sdk", "llmstream-reader", "llmstream-sqlite", "llmstream-postgres"]
# A run's conversations, and those of the warm-up.
_SPARE = 30


@dataclass(frozen=True, slots=True)
class Part:
    """A question: which subjects, at which sizes, and how one run is made."""

    name: str
    subjects: Sequence[Subject]
    sizes: Sequence[int]
    run: Callable[[Bench, Any, int], Run]
    #: What hardly varies is measured in the first repetition only.
    once: bool = False

    def cases(self) -> Iterator[tuple[Subject, int]]:
        """Every subject once at every size that it can take."""
        for size in self.sizes:
            for subject in self.subjects:
                if not subject.slow or size == self.sizes[0]:
                    yield subject, size


def parts(options: argparse.Namespace) -> list[Part]:
    """What the options ask for."""
    answer = Answer(options.tokens, _RATE)
    ramp, quick = options.ramp, options.quick
    sizes = options.sizes or ([100, 500] if quick else [100, 500, 1000])
    many = 300 if quick else 1000
    s, w = subjects, listeners
    by_hand, saving = [s.BY_HAND_SQLITE, s.BY_HAND_POSTGRES], [s.SAVE_SQLITE, s.SAVE_POSTGRES]
    asking = [s.RAW, s.STARLETTE, s.DJANGO, *by_hand, s.SQLITE, s.POSTGRES]
    keepers = [s.RAW, s.STARLETTE, s.DJANGO, s.READER, s.SQLITE]
    held, short = Answer(options.tokens, _RATE, delay=_HELD_BACK), Answer(1, _RATE)
    in_rooms = [w.RAW, w.PUBSUB, w.CORE, w.SQLITE, w.POSTGRES, w.LAYERED]
    found = [
        Part("answers", [*asking, *saving], sizes, lambda b, x, n: b.answers(x, Load(n, answer, ramp))),
        Part("requests", asking, [many // 2], lambda b, x, n: b.answers(x, Load(n, short, 2 * ramp)), once=True),
        Part("open", keepers, [many], lambda b, x, n: b.open(x, Load(n, held, 2 * ramp)), once=True),
        Part("viewers", [s.RAW, s.SQLITE, s.POSTGRES], [many], lambda b, x, n: b.viewers(x, Load(n, answer, 2 * ramp))),
        Part(
            "upstream",
            [s.SDK, s.SQLITE_UPSTREAM, s.POSTGRES_UPSTREAM],
            options.sizes or ([100] if quick else [100, 300]),
            lambda b, x, n: b.answers(x, Load(n, answer, ramp), upstream=answer),
        ),
        Part(
            "rooms",
            in_rooms,
            options.sizes or [100, 1000],
            lambda b, x, n: b.rooms(x, Load(n, answer, 2 * ramp)),
        ),
        Part(
            "sockets",
            in_rooms,
            options.sizes[-1:] if options.sizes else [1000],
            lambda b, x, n: b.sockets(x, Load(n, answer, 2 * ramp)),
            once=True,
        ),
    ]
    return [
        replace(part, subjects=chosen)
        for part in found
        if part.name in (options.parts or _PARTS)
        and (chosen := [x for x in part.subjects if not options.cases or x.name in options.cases])
    ]


def measure(bench: Bench, chosen: Sequence[Part], repetitions: int) -> Results:
    """Run every case once, then every case again, and so on."""
    results = Results()
    for repetition in range(repetitions):
        due = [part for part in chosen if not (part.once and repetition)]
        plan = [(part, subject, size) for part in due for subject, size in part.cases()]
        for number, (part, subject, size) in enumerate(plan, 1):
            started = time.monotonic()
            run = part.run(bench, subject, size)
            results.records.append(Record(part.name, subject.name, subject.title, size, repetition, run))
            where = f"[{repetition + 1}/{repetitions} {number}/{len(plan)}]"
            say(f"{where} {part.name} N={size} {subject.name}: {line(run)}, {time.monotonic() - started:.0f} s")
    return results


def line(run: Run) -> str:
    """A run in a few words."""
    if "kib_per_stream" in run:
        return f"{run['kib_per_stream']:.1f} KiB and {run['threads_per_stream']:.2f} threads a stream"
    words = (
        f"{run['server_us'] or 0:.1f} us, {run['tokens_per_s']:,.0f}/s, p99 {run['latency_ms']['p99']:.1f} ms, "
        f"lost {run['lost']}, other load {run['other_cores']:.2f}"
    )
    return words + (f" [{run['complaint']}]" if run["complaint"] else "")


def say(text: str) -> None:
    """Report progress, apart from the tables."""
    print(text, file=sys.stderr, flush=True)


def write(results: Results, options: argparse.Namespace) -> None:
    """Print the tables, and keep every figure of every run where the options say."""
    print(f"# Benchmarks\n\n{describe()}\n\n{', '.join(versions())}\n")
    print(
        f"{options.reps} repetitions, {options.tokens} tokens an answer, {_RATE:.0f} a second,"
        f" opened over {options.ramp} s."
    )
    if spins := [spin for record in results.records if (spin := record.value("spin_us"))]:
        print(
            f"A fixed piece of Python took {median(spins):,.0f} us ({min(spins):,.0f}-{max(spins):,.0f}) before a run."
        )
    for size in results.sizes("answers"):
        bases = (("raw", "raw"), ("django", "Django"), ("chat-sqlite", "chat by hand"))
        print(f"\n## {size} streams, {size * _RATE:,.0f} tokens/s offered\n")
        print(report.streams(results, "answers", size, bases))
    for size in results.sizes("requests"):
        print(f"\n## Opening a stream: {size} requests, one token each\n\n{report.requests(results, size)}")
    for size in results.sizes("open"):
        print(f"\n## {size} open streams before their first token\n\n{report.open_streams(results, size)}")
    for size in results.sizes("viewers"):
        print(f"\n## {size} viewers of one answer\n\n{report.viewers(results, size)}")
    for size in results.sizes("upstream"):
        print(f"\n## From an OpenAI-compatible upstream, {size} streams\n")
        print(report.streams(results, "upstream", size, (("starlette-sdk", "Starlette + openai"),)))
    for size in results.sizes("rooms"):
        print(f"\n## {size} sockets in one room, one answer, {size * _RATE:,.0f} deliveries/s offered\n")
        print(report.rooms(results, size))
    for size in results.sizes("sockets"):
        print(f"\n## {size} idle sockets, each in a room of its own\n\n{report.sockets(results, size)}")
    print(f"\n## Goals\n\n{goals(results)}\n\n† the streams never all ran at once: the case did not hold this load.")
    if options.json:
        content = {
            "machine": describe(),
            "versions": versions(),
            "runs": [asdict(record) for record in results.records],
        }
        options.json.write_text(json.dumps(content, indent=1))


def versions() -> list[str]:
    """What was measured with what."""
    found: list[str] = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} missing")
    return found


def numbers(text: str) -> list[int]:
    """Read a list of sizes."""
    return sorted(int(part) for part in text.split(","))


def words(text: str) -> list[str]:
    """Read a list of names."""
    return text.split(",")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one repetition, fewer cases and sizes: about 4 minutes")
    parser.add_argument("--reps", type=int, help="repetitions (default 3; 1 with --quick)")
    parser.add_argument("--parts", type=words, help=f"of {','.join(_PARTS)}")
    parser.add_argument("--cases", type=words, help="subjects by name, such as raw,django,llmstream-sqlite")
    parser.add_argument("--sizes", type=numbers, help="numbers of streams or sockets, instead of each part's own")
    parser.add_argument("--tokens", type=int, default=_TOKENS, help=f"tokens of an answer (default {_TOKENS})")
    parser.add_argument("--ramp", type=float, default=2.0, help="seconds over which the streams are opened")
    parser.add_argument(
        "--quiet-limit", type=float, default=10.0, help="longest wait for a quiet machine, seconds a run"
    )
    parser.add_argument("--json", type=Path, help="write every run's figures to this file")
    options = parser.parse_args()
    options.reps = options.reps or (1 if options.quick else 3)
    if options.quick:
        options.parts = options.parts or _QUICK_PARTS
        options.cases = options.cases or _QUICK_CASES
    return options


def main() -> None:
    """Measure and print."""
    options = arguments()
    chosen = parts(options)
    if not chosen:
        raise SystemExit("Nothing to measure: no part has such a case. See --help.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cores = Cores.choose()
    # Nothing but the server may run on the server's core.
    os.sched_setaffinity(0, {cores.client})
    conversations = max(size for part in chosen for size in part.sizes) + _SPARE
    with (
        tempfile.TemporaryDirectory(prefix="llmstream-bench-") as home,
        Bench(Path(home), cores, conversations=conversations, quiet_limit=options.quiet_limit) as bench,
    ):
        write(measure(bench, chosen, options.reps), options)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("Interrupted; everything that was started is stopped.") from None
