"""A whole site under faults: whatever befalls it, nobody loses anything and everything comes to an end.

``LLMSTREAM_CHAOS`` is the number of random runs on each database, ``LLMSTREAM_CHAOS_SEED`` the seed of the first.
``LLMSTREAM_LOCKED`` is for how many seconds SQLite is locked, and ``LLMSTREAM_BILLED`` the number of answers whose
ledger is compared with the service's count. ``python -m tests.chaos`` runs for longer.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from .plan import UPSTREAM, Act, Plan, draw
from .record import read_lines
from .run import Outcome, perform
from .site import Services

RUNS: Final = int(os.environ.get("LLMSTREAM_CHAOS", "1"))
SEED: Final = os.environ.get("LLMSTREAM_CHAOS_SEED", "20")
LOCKED: Final = float(os.environ.get("LLMSTREAM_LOCKED", "2"))
BILLED: Final = int(os.environ.get("LLMSTREAM_BILLED", "12"))

pytestmark = pytest.mark.timeout(180 + 60 * RUNS + 4 * LOCKED + 4 * BILLED)


async def survives(plan: Plan, services: Services, directory: Path) -> Outcome:
    """Perform a plan in which nothing may go wrong."""
    print(plan)
    outcome = await perform(plan, services, directory)
    print(outcome)
    assert not outcome.violations, f"{outcome}\nkept in {directory}"
    return outcome


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("number", range(RUNS))
async def test_random_faults(services: Services, directory: Path, database: str, number: int) -> None:
    plan = draw(f"{SEED}+{number}", seconds=3.0 if RUNS == 1 else 10.0, rooms=2 if RUNS == 1 else 4, database=database)
    outcome = await survives(plan, services, directory)
    assert outcome.figures["events seen"]


#: The faults that a site is asked about first, one after the other and in the middle of answers.
ONE_BY_ONE: Final = {
    "postgres": (
        Act(0.5, "postgres", 0, "terminate", 0.0),
        Act(0.9, "postgres", 0, "cut", 0.0),
        Act(1.2, "postgres", 0, "full", 0.6),
        Act(1.6, "layer", 0, "kill", 0.6),
        Act(2.3, "postgres", 0, "restart", 0.5),
    ),
    "sqlite": (Act(0.5, "sqlite", 0, "lock", LOCKED), Act(LOCKED + 0.8, "sqlite", 0, "full", 0.8)),
}


@pytest.mark.parametrize("database", ONE_BY_ONE)
async def test_a_database_and_a_layer_that_go_and_come_back(services: Services, directory: Path, database: str) -> None:
    acts = ONE_BY_ONE[database]
    plan = Plan(database, database, True, 2, 2, 0.0, acts=acts, prompts=2, models=(UPSTREAM[0],))
    outcome = await survives(plan, services, directory)
    # The processes live on, so every answer is given, unless somebody has stopped it.
    assert not {"failed", "interrupted"} & set(outcome.figures), outcome


async def test_the_ledger_is_what_the_service_counted(services: Services, directory: Path) -> None:
    """Answers that end by themselves, fail, are stopped, or lose their process to kill -9."""
    rooms = max(3, BILLED // 20)
    kills = tuple(Act(0.8 + 4.0 * number, "web", number % 2, "kill", 0.4) for number in range(1 + BILLED // 50))
    plan = Plan("ledger", "postgres", True, 2, rooms, 0.0, acts=kills, prompts=BILLED // rooms, models=UPSTREAM,
                watchers=("sse",))  # fmt: skip
    await survives(plan, services, directory)
    rows = list(read_lines(directory / "table-usage.jsonl"))
    calls = list(read_lines(directory / "upstream.jsonl"))
    told = [row["output_tokens"] for row in rows if not row["estimated"]]
    guessed = [row["output_tokens"] for row in rows if row["estimated"]]
    # Each row that the service told the figures of has been matched with a call of its generation by now.
    print(
        f"{BILLED // rooms * rooms} answers, {len(kills)} kills, {len(calls)} calls; {sum(told)} tokens in {len(told)}"
        f" rows as the service told them; {sum(guessed)} estimated in {len(guessed)} rows, for calls that ended before"
        f" it could: it counted {sum(call['tokens'] for call in calls) - sum(told)} there"
    )
    generations = list(read_lines(directory / "table-generations.jsonl"))
    assert len(generations) == BILLED // rooms * rooms
