"""The tables, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from .results import Results

_Cell: TypeAlias = Callable[[str], str]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Print a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Cells:
    """Formats figures of one part at one size."""

    def __init__(self, results: Results, part: str, size: int) -> None:
        self._results, self._part, self._size = results, part, size

    def number(self, name: str, form: str = ",.1f") -> _Cell:
        """The median."""

        def cell(subject: str) -> str:
            value = self._results.median(self._part, self._size, subject, name)
            return "-" if value is None else format(value, form)

        return cell

    def ranged(self, name: str, form: str = ",.1f") -> _Cell:
        """The median with the range."""

        def cell(subject: str) -> str:
            values = self._results.values(self._part, self._size, subject, name)
            if not values:
                return "-"
            middle = self.number(name, form)(subject)
            return f"{middle} ({min(values):,.0f}-{max(values):,.0f})"

        return cell

    def pair(self, name: str, form: str = ",.1f") -> _Cell:
        """p50 and p99 of a spread."""
        low, high = self.number(f"{name}.p50", form), self.number(f"{name}.p99", form)
        return lambda subject: f"{low(subject)} / {high(subject)}"

    def ratio(self, base: str) -> _Cell:
        """CPU beside that of another subject."""

        def cell(subject: str) -> str:
            value = self._results.ratio(self._part, self._size, subject, base)
            return "-" if value is None else f"{value:.2f}"

        return cell

    def rate(self, subject: str) -> str:
        """Tokens a second, marked when the streams never all ran at once."""
        runs = self._results.of(self._part, self._size, subject)
        together = all(record.run["all_at_once"] for record in runs)
        return self.number("tokens_per_s", ",.0f")(subject) + ("" if together else " †")

    def lost(self, subject: str) -> str:
        """Tokens that did not arrive, that came twice, and that are not stored, over all repetitions."""
        runs = [record.run for record in self._results.of(self._part, self._size, subject)]
        lost, twice = sum(run["lost"] for run in runs), sum(run["duplicated"] for run in runs)
        stored = [run["unstored"] for run in runs if run["unstored"] is not None]
        return f"{lost} / {twice} / {sum(stored) if stored else '-'}"


def _rows(results: Results, part: str, size: int, cells: Sequence[_Cell]) -> list[list[str]]:
    return [[title, *(cell(name) for cell in cells)] for name, title in results.subjects(part, size)]


def streams(results: Results, part: str, size: int, bases: Sequence[tuple[str, str]]) -> str:
    """One stream a request."""
    cells = Cells(results, part, size)
    columns: dict[str, _Cell] = {
        "tokens/s": cells.rate,
        "first token p50 / p99 ms": cells.pair("ttft_ms"),
        "token latency p50 / p99 ms": cells.pair("latency_ms"),
        "server CPU us/token (range)": cells.ranged("server_us"),
        "PostgreSQL us/token": cells.number("database_us"),
        **{f"CPU ÷ {label}": cells.ratio(base) for base, label in bases},
        "tokens/read": cells.number("tokens_per_read", ".2f"),
        "lost / twice / not stored": cells.lost,
        "client busy": cells.number("utilisation", ".2f"),
        "other load, cores": cells.number("other_cores", ".2f"),
    }
    return table(["case", *columns], _rows(results, part, size, list(columns.values())))


def requests(results: Results, size: int) -> str:
    """What opening a stream costs."""
    cells = Cells(results, "requests", size)
    columns: dict[str, _Cell] = {
        "first token p50 / p99 ms": cells.pair("ttft_ms"),
        "server CPU us/request (range)": cells.ranged("request_us", ",.0f"),
        "CPU ÷ raw": cells.ratio("raw"),
        "CPU ÷ chat by hand": cells.ratio("chat-sqlite"),
        "other load, cores": cells.number("other_cores", ".2f"),
    }
    return table(["case", *columns], _rows(results, "requests", size, list(columns.values())))


def rooms(results: Results, size: int) -> str:
    """One answer in a room of sockets."""
    cells = Cells(results, "rooms", size)
    columns: dict[str, _Cell] = {
        "deliveries/s": cells.rate,
        "latency p50 / p99 ms": cells.pair("latency_ms"),
        "server CPU us/delivery (range)": cells.ranged("server_us"),
        "PostgreSQL us/delivery": cells.number("database_us", ",.2f"),
        "Valkey us/delivery": cells.number("layer_us", ",.2f"),
        "CPU ÷ Channels Pub/Sub": cells.ratio("channels-pubsub"),
        "CPU ÷ raw queues": cells.ratio("raw-socket"),
        "tokens/read": cells.number("tokens_per_read", ".2f"),
        "lost / twice / not stored": cells.lost,
        "closed early": cells.number("closed_early", ".0f"),
        "client busy": cells.number("utilisation", ".2f"),
        "other load, cores": cells.number("other_cores", ".2f"),
    }
    return table(["case", *columns], _rows(results, "rooms", size, list(columns.values())))


def sockets(results: Results, size: int) -> str:
    """What an idle socket keeps and costs."""
    cells = Cells(results, "sockets", size)
    columns: dict[str, _Cell] = {
        "KiB per socket (range)": cells.ranged("kib_per_stream"),
        "threads per socket": cells.number("threads_per_stream", ".2f"),
        "threads": cells.number("threads", ".0f"),
        "before, MiB": cells.number("base_mib", ".0f"),
        "server, share of its core": cells.number("idle_cores", ".3f"),
        "closed early": cells.number("closed_early", ".0f"),
    }
    return table(["case", *columns], _rows(results, "sockets", size, list(columns.values())))


def open_streams(results: Results, size: int) -> str:
    """What an open stream keeps."""
    cells = Cells(results, "open", size)
    columns: dict[str, _Cell] = {
        "threads per stream": cells.number("threads_per_stream", ".2f"),
        "KiB per stream (range)": cells.ranged("kib_per_stream"),
        "threads": cells.number("threads", ".0f"),
        "before, MiB": cells.number("base_mib", ".0f"),
    }
    return table(["case", *columns], _rows(results, "open", size, list(columns.values())))


def viewers(results: Results, size: int) -> str:
    """One answer, many viewers."""
    cells = Cells(results, "viewers", size)
    columns: dict[str, _Cell] = {
        "deliveries/s": cells.rate,
        "latency p50 / p99 ms": cells.pair("latency_ms"),
        "server CPU us/delivery (range)": cells.ranged("server_us"),
        "CPU ÷ raw queues": cells.ratio("raw"),
        "tokens/read": cells.number("tokens_per_read", ".2f"),
        "lost / twice / not stored": cells.lost,
        "client busy": cells.number("utilisation", ".2f"),
        "other load, cores": cells.number("other_cores", ".2f"),
    }
    return table(["case", *columns], _rows(results, "viewers", size, list(columns.values())))
