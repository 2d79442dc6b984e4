"""What people wait for and nobody was told of, since its process died between the commit and the notification.

The rows of answers and tool calls say what has happened, the stored notifications say what was told.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from django.db import router
from django.utils import timezone

from ...log.rows import database_alias
from ...models import Generation, ToolCall
from .channels import OPERATIONS
from .models import Notification
from .outbox import KEPT

#: What has just happened is about to be told.
_SOON = timedelta(seconds=10)
#: Newest ends that are looked through at once.
_MOST = 1_000


def about_end(generation: int) -> str:
    """Return the name of a generation's end."""
    return f"end-{generation}"


def about_request(tool_call: int) -> str:
    """Return the name of the request for a decision on a tool call."""
    return f"call-{tool_call}"


def missed() -> tuple[Sequence[tuple[int, str, str]], Sequence[ToolCall]]:
    """Return ends as (generation, status, error code) and calls that wait for a decision, oldest first.

    Nothing from before the first notification that is kept: the site did not notify anybody then.
    """
    alias, now = database_alias(), timezone.now()
    kept = Notification.objects.using(router.db_for_write(Notification)).filter(channel__name=OPERATIONS)
    first = kept.order_by("seq").values_list("created_at", flat=True).first()
    if first is None:
        return [], []
    since = max(first, now - KEPT)
    ended = Generation.objects.using(alias).filter(
        ended_at__gt=since, ended_at__lt=now - _SOON, end_seq__isnull=False, compacted_at=None
    )
    ends = list(ended.order_by("-ended_at").values_list("pk", "status", "error_code")[:_MOST])
    waiting = ToolCall.objects.using(alias).filter(status=ToolCall.Status.PENDING, created_at__lt=now - _SOON)
    calls = list(waiting.filter(expires_at__gt=now, created_at__gt=since).order_by("pk")[:_MOST])
    names = [*(about_end(pk) for pk, *_ in ends), *(about_request(call.pk) for call in calls)]
    told = _told(names)
    return (
        [end for end in reversed(ends) if about_end(end[0]) not in told],
        [call for call in calls if about_request(call.pk) not in told],
    )


def _told(names: Collection[str]) -> set[str]:
    kept = Notification.objects.using(router.db_for_write(Notification))
    found = kept.filter(channel__name=OPERATIONS, about__in=names) if names else kept.none()
    return set(found.values_list("about", flat=True))
