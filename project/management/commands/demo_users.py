"""``manage.py demo_users``: the accounts of the demo site."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from project.views import demo_sign_in_allowed

PASSWORD = "demo"
USERS = ("alice", "bob", "admin")


class Command(BaseCommand):
    """Create alice, bob and the superuser admin where they are missing; accounts that exist are left alone."""

    help = "Create the demo users alice, bob and admin (superuser), each with the password 'demo'."

    def handle(self, *args: Any, **options: Any) -> None:
        """Refuses where one-click sign-in is off: accounts with a published password do not belong there."""
        if not demo_sign_in_allowed():
            raise CommandError("Demo users are for development: set DJANGO_DEBUG=1.")
        with transaction.atomic():
            for name in USERS:
                self._ensure(name, superuser=name == "admin")
        self.stdout.write(f"Demo users (password '{PASSWORD}'): {', '.join(USERS)}")

    def _ensure(self, name: str, *, superuser: bool) -> None:
        users = get_user_model().objects
        user, created = users.get_or_create(username=name, defaults={"is_staff": superuser, "is_superuser": superuser})
        if created:
            user.set_password(PASSWORD)
            user.save(update_fields=["password"])
