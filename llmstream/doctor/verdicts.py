"""What a check has found: a level, what was seen, and what to do about it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum

_WIDTH = 100


class Level(IntEnum):
    """How bad it is; the worst is the command's exit status."""

    OK = 0
    WARNING = 1
    FAULT = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check; ``fix`` is empty when there is nothing to do."""

    check: str
    level: Level
    seen: str
    fix: str = ""


def ok(check: str, seen: str) -> Verdict:
    """There is nothing to do."""
    return Verdict(check, Level.OK, seen)


def warning(check: str, seen: str, fix: str) -> Verdict:
    """It works, but not as it could."""
    return Verdict(check, Level.WARNING, seen, fix)


def fault(check: str, seen: str, fix: str) -> Verdict:
    """Something does not work, or will not under load."""
    return Verdict(check, Level.FAULT, seen, fix)


def worst(verdicts: Sequence[Verdict]) -> Level:
    """Return the level of the whole."""
    return max((verdict.level for verdict in verdicts), default=Level.OK)


def as_json(verdicts: Sequence[Verdict]) -> str:
    """Return one JSON object: ``level`` of the whole, and ``verdicts``."""
    found = [{**asdict(verdict), "level": verdict.level.name.lower()} for verdict in verdicts]
    return json.dumps({"level": worst(verdicts).name.lower(), "verdicts": found}, indent=1)


def lines(verdict: Verdict) -> Iterator[str]:
    """Yield a verdict's rows of the table that people read."""
    head = f"{verdict.level.name.lower():<9}{verdict.check:<22}"
    yield from textwrap.wrap(verdict.seen, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
    if verdict.fix:
        indent = " " * len(head)
        yield from textwrap.wrap(f"Fix: {verdict.fix}", _WIDTH, initial_indent=indent, subsequent_indent=indent)
