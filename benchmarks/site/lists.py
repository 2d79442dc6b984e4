"""The admin's pages of the site that ``benchmarks.lists`` has made: asks for each and prints how long it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from statistics import median

import django

django.setup()

from django.apps import apps  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from benchmarks.report import table  # noqa: E402

LIMIT_MS = 300
_TIMES = 5
_WHEN = "created_at__gte=2026-01-01"
_LISTS = {
    "conversation": (
        *("", "answers=active", "answers=error", "answers=completed", "of_model=tour", "owner=user77", _WHEN),
        *("cost_from=0.01", "cost_from=10", "feedback=down", "held__exact=1", "p=90"),
        *("q=topic 4711", "q=Sentence", "q=zzzz"),
    ),
    "message": (
        *("", "role=user", "status=failed", "owner=user77", _WHEN, "feedback=down", "p=90"),
        *("q=topic 4711", "q=Sentence", "q=zzzz"),
    ),
    "generation": (
        *("", "status__exact=failed", "status__exact=running", "lease=lapsed", "error=any", "of_model=tour"),
        *("cost_from=0.001", "cost_from=10", "owner=user77", _WHEN, "p=90"),
    ),
    "event": ("", "of_type=message-end", "of_type=usage", "p=90"),
    "usagerecord": ("", "of_model=tour", "username=user77", "cost_from=0.001", "cost_from=10", _WHEN, "p=90"),
    "feedback": ("", "rating__exact=down", "p=90"),
}
_FIGURES = ("generation/figures/", "usagerecord/figures/", f"usagerecord/figures/?{_WHEN}")


def main() -> int:
    """Print the table; return how many pages were too slow, at most 1."""
    rows = list(_measure())
    print(table(("page", "ms", "queries", ""), [row for *_, row in rows]))
    slow = sum(taken > LIMIT_MS for taken, _ in rows)
    print(f"\n{len(rows)} pages, {slow} of them slower than {LIMIT_MS} ms")
    return min(slow, 1)


def _pages() -> Iterator[str]:
    for name, queries in _LISTS.items():
        yield from (f"{name}/?{query}" if query else f"{name}/" for query in queries)
    yield from _FIGURES
    for name in ("conversation", "message", "generation", "usagerecord"):
        yield f"{name}/{_middle(name)}/change/"
    yield f"conversation/{_middle('conversation')}/delete/"
    yield f"event/?conversation__id__exact={_middle('conversation')}"


def _measure() -> Iterator[tuple[float, Sequence[str]]]:
    client = Client(headers={"host": "localhost"})
    client.force_login(get_user_model()._default_manager.create_superuser("staff"))
    for page in _pages():
        times = []
        for _ in range(1 + _TIMES):
            taken, queries = _ask(client, f"/admin/llmstream/{page}")
            times.append(taken)
        taken = median(times[1:])
        print(f"{taken:7.0f} ms  {page}", file=sys.stderr, flush=True)
        yield taken, (f"`{page}`", f"{taken:.0f}", str(queries), "" if taken <= LIMIT_MS else "**slow**")


def _ask(client: Client, path: str) -> tuple[float, int]:
    with CaptureQueriesContext(connection) as queries:
        started = time.perf_counter()
        response = client.get(path)
        taken = (time.perf_counter() - started) * 1_000
    if response.status_code != 200:
        raise SystemExit(f"{path}: status {response.status_code}")
    return taken, len(queries)


def _middle(name: str) -> int:
    rows = apps.get_model("llmstream", name)._default_manager.order_by("pk").values_list("pk", flat=True)
    return int(rows[rows.count() // 2])


if __name__ == "__main__":
    raise SystemExit(main())
