"""``manage.py llmstream_erase``"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from ...exceptions import ConversationHeld
from ...retention.erasing import Erasure, erase, find, held

_HELD = 3


class Command(BaseCommand):
    """Exit code 3: refused, since something is under a legal hold."""

    help = (
        "Erases one person: deletes the conversations that the user owns, replaces what the user has said in others' "
        "by tombstones, removes memberships and presences, and takes the name off the ledger. The account itself stays."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Who, and how."""
        parser.add_argument("user", help="the user's name to sign in with, or with --pk the primary key")
        parser.add_argument("--pk", action="store_true", help="the user is named by the primary key")
        parser.add_argument("--dry-run", action="store_true", help="tell what would be erased, and erase nothing")
        parser.add_argument("--override-hold", action="store_true", help="erase what is under a legal hold, too")

    def handle(self, *, user: str, pk: bool, dry_run: bool, override_hold: bool, **options: Any) -> None:
        """Find the user and erase."""
        found = _find_user(user, by_pk=pk)
        if dry_run:
            self._tell("To erase", find(found))
            self.stdout.write(f"Conversations under a legal hold: {held(found)}.")
            self.stdout.write("Nothing was changed.")
            return
        try:
            self._tell("Erased", erase(found, override_hold=override_hold))
        except ConversationHeld as error:
            raise CommandError(
                f"Some conversations are under a legal hold: {held(found)}.", returncode=_HELD
            ) from error

    def _tell(self, what: str, erasure: Erasure) -> None:
        self.stdout.write(
            f"{what}: {erasure.conversations} conversations; {erasure.messages} messages in {erasure.shared} "
            f"conversations of others; {erasure.memberships} memberships; {erasure.presences} presences; "
            f"{erasure.feedback} ratings; the name on {erasure.usage_records} usage records."
        )


def _find_user(name: str, *, by_pk: bool) -> Any:
    users = get_user_model()._base_manager
    try:
        found = users.filter(**{"pk" if by_pk else get_user_model().USERNAME_FIELD: name}).first()
    except (ValueError, ValidationError):
        found = None
    if found is None:
        raise CommandError(f"There is no user {name}.")
    return found
