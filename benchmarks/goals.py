"""The goals, each against what the session measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .report import table
from .results import Results

_SQLITE, _POSTGRES = "llmstream-sqlite", "llmstream-postgres"
_DURABLE_RATE = 25_000
#: The share of the offered rate that counts as holding it: the window's edges cost a little.
_HELD = 0.99


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that must not be above ``limit`` (or below it); ``measure`` returns None for what was not run."""

    text: str
    limit: float
    measure: Callable[[Results], float | None]
    form: str = "{:.2f}"
    at_least: bool = False

    def row(self, results: Results) -> list[str] | None:
        """The goal's line in the table, None when nothing was measured for it."""
        value = self.measure(results)
        if value is None:
            return None
        limit = ("≥ " if self.at_least else "≤ ") + self.form.format(self.limit)
        met = value >= self.limit if self.at_least else value <= self.limit
        return [self.text, limit, self.form.format(value), "PASS" if met else "**miss**"]


def _median(part: str, size: int, subject: str, name: str) -> Callable[[Results], float | None]:
    return lambda results: results.median(part, size, subject, name)


def _ratio(part: str, size: int, subject: str, base: str) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(part, size, subject, base)


def _viewers(results: Results) -> float | None:
    sizes = results.sizes("viewers")
    return results.ratio("viewers", sizes[-1], _SQLITE, "raw") if sizes else None


def _open(subject: str, name: str) -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        sizes = results.sizes("open")
        return results.median("open", sizes[-1], subject, name) if sizes else None

    return measure


def _worst(name: str, *, ours: bool) -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        records = [record for record in results.records if not ours or record.subject.startswith("llmstream")]
        values = [value for record in records if (value := record.value(name)) is not None]
        return max(values) if values else None

    return measure


def _goals() -> Iterator[Goal]:
    for subject, label in ((_SQLITE, "SQLite"), (_POSTGRES, "PostgreSQL")):
        yield Goal(f"CPU/token ÷ raw ASGI, N=500, {label}", 1.4, _ratio("answers", 500, subject, "raw"))
        yield Goal(f"CPU/token ÷ Django streaming, N=500, {label}", 0.75, _ratio("answers", 500, subject, "django"))
        rate = _median("answers", 500, subject, "tokens_per_s")
        held = _HELD * _DURABLE_RATE
        yield Goal(f"durable tokens/s, N=500, {label}", held, rate, "{:,.0f}", at_least=True)
        p99 = _median("answers", 500, subject, "latency_ms.p99")
        yield Goal(f"token latency p99 at that rate, ms, {label}", 150, p99, "{:.1f}")
        for share, limit in (("p50", 8), ("p99", 30)):
            latency = _median("answers", 100, subject, f"latency_ms.{share}")
            yield Goal(f"token latency {share}, N=100, ms, {label}", limit, latency, "{:.1f}")
    yield Goal("PostgreSQL CPU us/token, N=500", 8, _median("answers", 500, _POSTGRES, "database_us"), "{:.1f}")
    for subject, label in (("llmstream-reader", "a reader"), (_SQLITE, "a running answer and its reader")):
        yield Goal(f"threads per open stream, {label}", 0, _open(subject, "threads_per_stream"))
        yield Goal(f"KiB per open stream, {label}", 25, _open(subject, "kib_per_stream"), "{:.1f}")
    yield Goal("CPU per delivery ÷ raw queue fan-out, most viewers", 0.9, _viewers)
    for size in (100, 300):
        for subject, label in ((_SQLITE, "SQLite"), (_POSTGRES, "PostgreSQL")):
            cost = _median("upstream", size, subject, "server_us")
            yield Goal(f"end to end CPU us/token, N={size}, {label}", 60, cost, "{:.1f}")
            ratio = _ratio("upstream", size, subject, "starlette-sdk")
            yield Goal(f"end to end CPU ÷ Starlette + openai package, N={size}, {label}", 0.3, ratio)
    for name, label in (("lost", "tokens lost"), ("duplicated", "tokens twice"), ("unstored", "tokens not stored")):
        yield Goal(f"{label}, worst run", 0, _worst(name, ours=True), "{:.0f}")
    yield Goal("load client's share of its core, worst run", 0.6, _worst("utilisation", ours=False))


def goals(results: Results) -> str:
    """The table of the goals that this session measured."""
    rows = [row for goal in _goals() if (row := goal.row(results))]
    return table(["goal", "limit", "measured", "verdict"], rows)
