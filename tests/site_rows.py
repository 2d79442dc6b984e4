"""The rows that Django makes after a migration: content types and permissions.

It makes them anew, with dozens of queries, after every test that commits. Here they are put back as they were at first.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.management import create_contenttypes
from django.contrib.contenttypes.models import ContentType
from django.db.models.signals import post_migrate


class SiteRows:
    """The rows as they are now, put back after each flush from now on."""

    def __init__(self) -> None:
        self._types, self._permissions = list(ContentType.objects.all()), list(Permission.objects.all())
        before = len(post_migrate.receivers)
        post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
        post_migrate.disconnect(create_contenttypes)
        assert len(post_migrate.receivers) == before - 2
        post_migrate.connect(self.put_back)

    def put_back(self, sender: AppConfig, using: str, **_: Any) -> None:
        """Restore the rows, once a flush."""
        if sender.label == "auth":
            ContentType.objects.using(using).bulk_create(self._types)
            Permission.objects.using(using).bulk_create(self._permissions)

    def close(self) -> None:
        """Leave it to Django again."""
        post_migrate.disconnect(self.put_back)
