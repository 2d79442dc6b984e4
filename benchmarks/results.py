"""Everything that was measured in one session, and how it is summed up: medians, with the range beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One run."""

    part: str
    subject: str
    title: str
    size: int
    repetition: int
    run: dict[str, Any]

    def value(self, name: str) -> float | None:
        """A figure of the run; ``latency_ms.p50`` looks into a spread."""
        found: Any = self.run
        for step in name.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        return None if found is None else float(found)


@dataclass(slots=True)
class Results:
    """All runs, in the order in which they were made."""

    records: list[Record] = field(default_factory=list)

    def of(self, part: str, size: int, subject: str) -> list[Record]:
        """The repetitions of one case."""
        return [r for r in self.records if (r.part, r.size, r.subject) == (part, size, subject)]

    def sizes(self, part: str) -> list[int]:
        """Sizes at which a part was run."""
        return sorted({r.size for r in self.records if r.part == part})

    def subjects(self, part: str, size: int) -> list[tuple[str, str]]:
        """Names and titles of the subjects of a part, in the order of the first repetition."""
        found = {r.subject: r.title for r in self.records if (r.part, r.size) == (part, size)}
        return list(found.items())

    def values(self, part: str, size: int, subject: str, name: str) -> list[float]:
        """One figure of every repetition."""
        found = (record.value(name) for record in self.of(part, size, subject))
        return [value for value in found if value is not None]

    def median(self, part: str, size: int, subject: str, name: str) -> float | None:
        """The median over the repetitions, None when nothing was measured."""
        values = self.values(part, size, subject, name)
        return median(values) if values else None

    def ratio(self, part: str, size: int, subject: str, base: str, name: str = "server_us") -> float | None:
        """The median of a figure's ratio to that of ``base``, taken within each repetition."""
        ours = {r.repetition: r.value(name) for r in self.of(part, size, subject)}
        theirs = {r.repetition: r.value(name) for r in self.of(part, size, base)}
        ratios = [mine / other for rep, mine in ours.items() if mine is not None and (other := theirs.get(rep))]
        return median(ratios) if ratios else None
