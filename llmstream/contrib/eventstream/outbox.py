"""Notifications on their way: stored first, then published in order.

A position is given out under its channel's row lock, so it is committed after all earlier ones. Whoever publishes
begins with the first one that nobody has marked as sent. So whoever has received a notification has been sent every
earlier one, whichever processes have sent them, and may resume behind it. Two processes that publish at the same
moment may send one twice, under the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta

from django.db import router
from django.db.models import F
from django.utils import timezone

from ...database import write_transaction
from .models import Channel, Notification

#: For how long somebody may be away and still get what was missed.
KEPT = timedelta(days=1)
_PORTION = 100


class StoredText(str):
    """The data of a notification that has its position already."""

    seq: int

    @classmethod
    def of(cls, notification: Notification) -> StoredText:
        """Return the data with the position."""
        text = cls(notification.data)
        text.seq = notification.seq
        return text


def store(names: Collection[str], kind: str, data: str, about: str = "") -> dict[str, int]:
    """Add a notification to channels, to all or none; return its position in each, nothing if it was told before."""
    alias = router.db_for_write(Notification)
    channels, now = Channel.objects.using(alias), timezone.now()
    with write_transaction(alias):
        known = channels.filter(name__in=names)
        if missing := set(names).difference(known.values_list("name", flat=True)):
            channels.bulk_create([Channel(name=name) for name in sorted(missing)], ignore_conflicts=True)
        # In one order for everybody, so that no two wait for each other.
        rows = list(known.select_for_update().order_by("name"))
        stored = Notification.objects.using(alias)
        if about and stored.filter(channel__in=rows, about=about).exists():
            return {}
        channels.filter(pk__in=[row.pk for row in rows]).update(head=F("head") + 1)
        stored.bulk_create(
            Notification(channel=row, seq=row.head + 1, type=kind, data=data, about=about, created_at=now)
            for row in rows
        )
    return {row.name: row.head + 1 for row in rows}


def publish(name: str, send: Callable[[str, str, StoredText], None]) -> None:
    """Hand everything in a channel that nobody has marked as sent to ``send``, in order, and mark it.

    What ``send`` fails with is raised; what it has taken before is marked, and the rest comes with the next call.
    """
    alias = router.db_for_write(Notification)
    channels = Channel.objects.using(alias)
    channel = channels.get(name=name)
    while channel.sent < channel.head:
        portion = Notification.objects.using(alias).filter(channel=channel, seq__gt=channel.sent).order_by("seq")
        rows, begun = list(portion[:_PORTION]), channel.sent
        try:
            for row in rows:
                send(name, row.type, StoredText.of(row))
                channel.sent = row.seq
            if not rows:  # pruned meanwhile
                channel.sent = channel.head
        finally:
            if channel.sent > begun:
                channels.filter(pk=channel.pk, sent__lt=channel.sent).update(sent=channel.sent)


def prune() -> int:
    """Delete what nobody can ask for any more, and return how many; positions go on where they were."""
    old = Notification.objects.using(router.db_for_write(Notification)).filter(created_at__lt=timezone.now() - KEPT)
    return old.delete()[0]
