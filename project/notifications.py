"""What every page of the demo knows of notifications."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest
from django_eventstream import get_current_event_id

from llmstream.contrib.eventstream.channels import user_channel


def notifications(request: HttpRequest) -> dict[str, Any]:
    """Add ``last_notification``, the id behind which a page that is rendered now goes on. Looked up when it is used."""
    return {"last_notification": partial(_last, request.user)}


def _last(user: Any) -> str:
    return str(get_current_event_id([user_channel(user)]))
