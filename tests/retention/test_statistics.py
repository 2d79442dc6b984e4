"""Figures of what is stored and what goes on."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from llmstream.models import (
    Event,
    Generation,
    UsageRecord,
)
from tests.admin.staff import answered
from tests.support import (
    ask,
    conversation,
)

from .support import run

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def test_the_figures_tell_what_there_is() -> None:
    answered()
    old_one = answered()
    Generation.objects.filter(pk=old_one.generation.pk).update(created_at=timezone.now() - timedelta(days=3))
    running = ask(conversation())
    Generation.objects.filter(pk=running.generation.pk).update(lease_expires_at="2020-01-01T00:00:00Z")
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE")
    found = json.loads(run("llmstream_stats", "--json"))
    assert {name: table["rows"] for name, table in found["tables"].items()} == {
        "conversation": 3,
        "message": 6,
        "generation": 3,
        "event": Event.objects.count(),
        "usagerecord": UsageRecord.objects.count(),
    }
    assert found["active"] == {"running": 1}
    assert found["stale_leases"] == 1
    assert found["begun"]["week"] == {"completed": 2, "running": 1}
    assert found["usage"]["day"]["calls"] == 2
    told = run("llmstream_stats")
    assert "3 rows" in told
    assert "with a lapsed lease: 1" in told


def test_the_figures_of_nothing_are_zero() -> None:
    found = json.loads(run("llmstream_stats", "--json"))
    assert found["usage"]["week"] == {
        "calls": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "reasoning_tokens": 0,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "cost": None,
    }
    assert found["begun"] == {"day": {}, "week": {}}


def test_what_is_older_than_a_span_is_not_counted() -> None:
    for days in (10, 5, 0):
        sent = answered()
        UsageRecord.objects.filter(conversation=sent.conversation).update(
            created_at=timezone.now() - timedelta(days=days)
        )
    usage = json.loads(run("llmstream_stats", "--json"))["usage"]
    assert (usage["day"]["calls"], usage["week"]["calls"]) == (1, 2)
