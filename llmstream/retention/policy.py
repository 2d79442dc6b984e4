"""Which conversations a site no longer keeps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeAlias

from django.db.models import QuerySet

from ..conf import get_settings, import_setting
from ..models import Conversation

#: Narrows conversations down to those that are no longer to be kept, as of a moment.
Policy: TypeAlias = Callable[[QuerySet[Conversation], datetime], QuerySet[Conversation]]


def unused(conversations: QuerySet[Conversation], now: datetime) -> QuerySet[Conversation]:
    """Those that nothing was written in for ``RETENTION_DAYS``; none when that is 0."""
    if not (days := get_settings().retention_days):
        return conversations.none()
    return older_than(timedelta(days=days))(conversations, now)


def older_than(age: timedelta) -> Policy:
    """Return a policy for those that nothing was written in for so long."""
    return lambda conversations, now: conversations.filter(updated_at__lt=now - age)


def site_policy() -> Policy:
    """Return the site's own, ``RETENTION_POLICY``."""
    policy: Policy = import_setting(get_settings().retention_policy)
    return policy
