"""Trigrams of what messages say, on PostgreSQL; other databases stay as they are."""

from __future__ import annotations

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

# For ``ILIKE``. Built beside the traffic, which a large table would otherwise wait for.
_CREATE = (
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS llmstream_message_trigram ON llmstream_message"
    " USING gin (text gin_trgm_ops)"
)
_DROP = "DROP INDEX CONCURRENTLY IF EXISTS llmstream_message_trigram"


def create(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Make the extension and build the index."""
    if editor.connection.vendor == "postgresql":
        editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        editor.execute(_CREATE)
        editor.execute("ANALYZE llmstream_message")


def drop(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Remove the index; the extension may be somebody else's."""
    if editor.connection.vendor == "postgresql":
        editor.execute(_DROP)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("llmstream", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
