"""``manage.py llmstream_prune``"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ...attachments import prune_attachments
from ...presence import given_up, sweep
from ...retention import policy
from ...retention.compacting import compact_all, count_deltas, uncompacted
from ...retention.pruning import Pruning

_FAILED = 3


def _days(text: str) -> timedelta:
    try:
        age = timedelta(days=float(text))
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text} is no number of days") from None
    if age < timedelta(0):
        raise ArgumentTypeError("a number of days cannot be negative")
    return age


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"{text} is no positive number")
    return int(text)


class Command(BaseCommand):
    """For cron, on any number of hosts. Exit code 3: some of it failed and stays for the next time."""

    help = (
        "Compacts answers that have ended COMPACT_AFTER ago, prunes conversations that the site's policy no longer "
        "keeps, and removes attachments that were not sent, and processes and presences that are gone."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """How much, how old, or only to tell."""
        parser.add_argument("--dry-run", action="store_true", help="tell what would be done, and do nothing")
        parser.add_argument(
            "--older-than",
            type=_days,
            metavar="DAYS",
            help="prune conversations in which nothing was written for so many days, whatever the site's policy says",
        )
        parser.add_argument("--batch", type=_positive, default=100, help="rows that are looked up at once (100)")

    def handle(self, *, dry_run: bool, older_than: timedelta | None, batch: int, **options: Any) -> None:
        """Compact, prune, sweep."""
        pruning = Pruning(policy.site_policy() if older_than is None else policy.older_than(older_than))
        if dry_run:
            self._tell(pruning)
            return
        every = batch if options["verbosity"] > 1 else 0
        failed = self._compact(batch, every) + self._prune(pruning, batch, every)
        self.stdout.write(f"Removed {prune_attachments()} attachments that were not sent.")
        sweep()
        if failed:
            raise CommandError(f"{failed} could not be compacted or pruned; see the log.", returncode=_FAILED)

    def _tell(self, pruning: Pruning) -> None:
        found, due = uncompacted(timezone.now()), pruning.due()
        self.stdout.write(f"To compact: {found.count()} answers with {count_deltas(found)} pieces.")
        self.stdout.write(
            f"To prune: {due.conversations} conversations with {due.messages} messages and {due.events} events."
        )
        self.stdout.write(f"Due, but under a legal hold: {due.held}; at work: {due.at_work}.")
        self.stdout.write(f"Processes that are gone: {given_up().count()}.")
        self.stdout.write("Nothing was changed.")

    def _compact(self, batch: int, every: int) -> int:
        answers = rows = failed = 0
        for removed in compact_all(uncompacted(timezone.now()), batch):
            if removed is None:
                failed += 1
                continue
            answers, rows = answers + 1, rows + removed
            if every and not answers % every:
                self.stdout.write(f"{answers} answers compacted …")
        self.stdout.write(f"Compacted {answers} answers, {rows} rows fewer.")
        return failed

    def _prune(self, pruning: Pruning, batch: int, every: int) -> int:
        done = failed = 0
        for _, success in pruning.run(batch):
            done, failed = done + success, failed + (not success)
            if every and not (done + failed) % every:
                self.stdout.write(f"{done} conversations pruned …")
        self.stdout.write(f"Pruned {done} conversations.")
        return failed
