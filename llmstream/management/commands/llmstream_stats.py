"""``manage.py llmstream_stats``"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.management.base import BaseCommand
from django.template.defaultfilters import filesizeformat

from ...statistics import statistics


class Command(BaseCommand):
    """Prints figures; reads no large table as a whole where the database has estimates."""

    help = "Tells how much is stored, what is at work, and what was used in the last day and week."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """For people or for programs."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *, json: bool, **options: Any) -> None:
        """Print."""
        found = statistics()
        self.stdout.write(_as_json(found) if json else "\n".join(_lines(found)))


def _as_json(found: Mapping[str, Any]) -> str:
    return json.dumps(found, indent=1)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    for name, table in found["tables"].items():
        about = "about " if table["estimated"] else ""
        size = "" if table["bytes"] is None else f", {filesizeformat(table['bytes'])}"
        yield f"{name}: {about}{table['rows']} rows{size}"
    yield f"at work: {_counts(found['active'])}; with a lapsed lease: {found['stale_leases']}"
    for span, counts in found["begun"].items():
        yield f"begun in the last {span}: {_counts(counts)}"
    for span, usage in found["usage"].items():
        cost = "unknown" if usage["cost"] is None else usage["cost"]
        tokens = f"{usage['input_tokens']} input tokens, {usage['output_tokens']} output tokens"
        yield f"used in the last {span}: {usage['calls']} calls, {tokens}, cost {cost}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in counts.items()) or "none"
