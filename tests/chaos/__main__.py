"""``python -m tests.chaos``: run after run under faults, each from a seed of its own, until the time is over.

A run that is found wrong ends it with status 1 and keeps its files. The same seed draws the same schedule again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from .plan import draw
from .run import perform
from .site import Services


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    seed, minutes = os.environ.get("CHAOS_SEED", ""), os.environ.get("CHAOS_MINUTES") or 10
    parser.add_argument("--seed", default=seed, help="the first run's seed; CHAOS_SEED or a random one by default")
    parser.add_argument("--minutes", type=float, default=minutes, help="0 for one run only; CHAOS_MINUTES or 10")
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds of faults in one run; default 30")
    parser.add_argument("--rooms", type=int, default=6, help="conversations, five clients each; default 6")
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="", help="otherwise the seed says")
    parser.add_argument("--keep", action="store_true", help="keep the files of runs that went well, too")
    return parser.parse_args()


def main() -> None:
    """Run until the time is over, or something is wrong."""
    options = arguments()
    ends = time.monotonic() + options.minutes * 60
    first, number = options.seed or str(random.randrange(10**8)), 0
    home = Path(tempfile.mkdtemp(prefix="llmstream-chaos-"))
    with Services.running(home) as services:
        while number == 0 or time.monotonic() < ends:
            seed = f"{first}+{number}" if number else first
            number += 1
            plan = draw(seed, seconds=options.seconds, rooms=options.rooms, database=options.database)
            print(plan, flush=True)
            directory = home / f"run-{number}"
            directory.mkdir()
            outcome = asyncio.run(perform(plan, services, directory))
            print(outcome, flush=True)
            if outcome.violations:
                again = f"--seed {seed} --seconds {options.seconds:g} --rooms {options.rooms} --minutes 0"
                database = f" --database {options.database}" if options.database else ""
                print(f"kept in {directory}; again: {sys.executable} -m tests.chaos {again}{database}", flush=True)
                raise SystemExit(1)
            if not options.keep:
                shutil.rmtree(directory)
    print(f"{number} runs, nothing wrong", flush=True)
    if not options.keep:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
