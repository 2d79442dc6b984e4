"""The search's index, which only PostgreSQL with its contributed modules has: other databases stay as they are."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from llmstream.admin.search import newest_saying
from llmstream.models import Message
from tests.admin.staff import answered

pytestmark = pytest.mark.django_db(transaction=True)


def test_its_migration_may_run_anywhere_and_search_finds_the_same() -> None:
    first = answered("Where is Zurich?", "In SWITZERLAND").message
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "llmstream.contrib.trigram"]):
        call_command("migrate", "llmstream_trigram", verbosity=0)
        try:
            found = newest_saying("zuri", "conversation")
            with connection.cursor() as cursor:
                built = connection.introspection.get_constraints(cursor, Message._meta.db_table)
        finally:
            call_command("migrate", "llmstream_trigram", "zero", verbosity=0)
    assert list(found) == [first.conversation_id]
    assert ("llmstream_message_trigram" in built) == (connection.vendor == "postgresql")
