"""The rows that Django makes after a migration: content types and permissions.

It makes them anew, with dozens of queries, after every test that commits. Here they are put back as they were at first.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.management import create_contenttypes
from django.contrib.contenttypes.models import ContentType
from django.db.models.signals import post_migrate


class SiteRows:
    """The rows as they are now, put back after each flush from now on."""

    def __init__(self) -> None:
        self._types, self._permissions = list(ContentType.objects.all()), list(Permission.objects.all())
        assert _leave_out_makers() == 2
        post_migrate.connect(self.put_back)

    def put_back(self, sender: AppConfig, using: str, **_: Any) -> None:
        """Restore those that are gone, once a flush or a migration."""
        if sender is next(app for app in apps.get_app_configs() if app.models_module):
            _leave_out_makers()  # They are back when a test has changed INSTALLED_APPS.
            ContentType.objects.using(using).bulk_create(self._types, ignore_conflicts=True)
            Permission.objects.using(using).bulk_create(self._permissions, ignore_conflicts=True)

    def close(self) -> None:
        """Leave it to Django again."""
        post_migrate.disconnect(self.put_back)


def _leave_out_makers() -> int:
    return post_migrate.disconnect(
        dispatch_uid="django.contrib.auth.management.create_permissions"
    ) + post_migrate.disconnect(create_contenttypes)
