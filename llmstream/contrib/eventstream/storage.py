"""django-eventstream's storage over our rows, so that a client that comes back gets what it has missed."""

from __future__ import annotations

import json
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django_eventstream.event import Event
from django_eventstream.storage import DjangoModelStorage, EventDoesNotExist

from .channels import is_ours
from .models import Channel, Notification
from .outbox import StoredText, store


class StorageMixin:
    """Keeps our channels and leaves all others to the class it is mixed into."""

    def append_event(self, channel: str, event_type: str, data: Any) -> Event:
        """Return the event of what is stored already; store what the site itself sends into one of our channels."""
        if not is_ours(channel):
            return super().append_event(channel, event_type, data)  # type: ignore[misc]
        if isinstance(data, StoredText):
            return Event(channel, event_type, str(data), id=data.seq)
        text = data if isinstance(data, str) else json.dumps(data, cls=DjangoJSONEncoder)
        return Event(channel, event_type, text, id=store([channel], event_type, text)[channel])

    def get_events(self, channel: str, last_id: int, limit: int = 100) -> list[Event]:
        """Return what came after a position, oldest first; raises EventDoesNotExist when part of it is gone."""
        if not is_ours(channel):
            found: list[Event] = super().get_events(channel, last_id, limit)  # type: ignore[misc]
            return found
        head = self.get_current_id(channel)
        if last_id == head:
            return []
        later = Notification.objects.filter(channel__name=channel, seq__gt=last_id).order_by("seq")
        rows = list(later[:limit]) if 0 <= last_id < head else []
        if not rows or rows[0].seq != last_id + 1:
            raise EventDoesNotExist(f"Nothing is kept behind {last_id}", head)
        return [Event(channel, row.type, row.data, id=row.seq) for row in rows]

    def get_current_id(self, channel: str) -> int:
        """Return the position of the newest one, 0 where there is none."""
        if not is_ours(channel):
            return int(super().get_current_id(channel))  # type: ignore[misc]
        return Channel.objects.filter(name=channel).values_list("head", flat=True).first() or 0


class Storage(StorageMixin, DjangoModelStorage):  # type: ignore[misc]
    """Our channels in our rows; the site's own ones, if it has any, in django-eventstream's."""
