"""``manage.py llmstream_recover``"""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...generations.approvals import expire
from ...generations.endings import conversations_of, lapsed, next_in_line
from ...generations.leftovers import cancel_left
from ...generations.recovery import sweep
from ...log.rows import database_alias
from ...models import LeftResponse

#: Exit status of a dry run that has found something to do.
FOUND = 3


class Command(BaseCommand):
    """Does at once what running servers do every ``SWEEP_INTERVAL``; servers and workers then go on with the answers.

    Exit status: 0 when all is done, or a dry run has found nothing; 1 when something could not be done; 3 when a dry
    run has found something.
    """

    help = "Takes back answers whose processes are gone: queues them again or ends them, by their models' RECOVERY."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take ``--dry-run``."""
        parser.add_argument(
            "--dry-run", action="store_true", help="only tell what there is to do; exit status 3 if any"
        )

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        """Sweep once, and say what was found and done."""
        if dry_run:
            self._look()
            return
        found = sweep()
        remaining = async_to_sync(cancel_left)()
        self.stdout.write(f"Answers queued again: {len(found.queued)}")
        self.stdout.write(f"Answers ended as interrupted: {len(found.ended)}")
        self.stdout.write(f"Conversations in which a prompt waits for a process: {len(found.held_up)}")
        if found.failed or remaining:
            raise CommandError(
                f"Not recovered: {len(found.failed)} conversations; not cancelled: {remaining} responses. See the log."
            )

    def _look(self) -> None:
        found = {
            "Answers whose processes are gone": lapsed().count(),
            "Conversations with tool calls that nobody decided on in time": len(expire()),
            "Conversations in which a prompt waits": len(conversations_of(next_in_line())),
            "Responses to be cancelled at their services": LeftResponse.objects.using(database_alias()).count(),
        }
        for what, count in found.items():
            self.stdout.write(f"{what}: {count}")
        if any(found.values()):
            raise CommandError("There is something to do.", returncode=FOUND)
