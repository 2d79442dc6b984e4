"""Where a stream of notifications begins, and how far it has come."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from urllib.parse import unquote

from django.http import HttpRequest
from django_eventstream.eventrequest import EventRequest
from django_eventstream.utils import get_channelmanager, get_storage
from django_eventstream.views import Listener, stream

from ...database import run_db
from ...exceptions import InvalidRequest
from ...permissions import Requester

#: django-eventstream's own bound.
_MAX_CHANNELS = 10
_ID = re.compile(r"^id: (.*)$", re.MULTILINE)


def parse_request(request: HttpRequest, requester: Requester, channels: Collection[str]) -> EventRequest:
    """Return what a client asks for; raises InvalidRequest for a position or a number of channels that cannot be."""
    if not 0 < len(channels) <= _MAX_CHANNELS:
        raise InvalidRequest(f"A stream has between 1 and {_MAX_CHANNELS} channels.")
    asked = EventRequest()
    asked.channels, asked.user, asked.is_next = set(channels), requester.user, False
    # An EventSource repeats its address when it reconnects: the header is the newer one.
    last = request.headers.get("Last-Event-ID") or request.GET.get("lastEventId", "")
    try:
        asked.channel_last_ids = {name: at for name, at in parse_id(last).items() if name in asked.channels}
    except ValueError:
        raise InvalidRequest("This is not the id of a notification.") from None
    return asked


def parse_id(text: str) -> dict[str, str]:
    """Return the position in each channel that an id names; raises ValueError."""
    found = {}
    for part in filter(None, text.split(",")):
        channel, position = part.split(":")
        found[unquote(channel)] = str(int(position))
    return found


async def frames(asked: EventRequest) -> AsyncGenerator[str, None]:
    """Stream what is sent from now on, or from the client's position on, without a gap.

    django-eventstream reads a channel again, from the request's position, when something is sent while it reads. The
    position is therefore set before it listens and moved with each frame: without the first it would leave out what
    came in between, without the second send again what it had just sent.
    """
    await run_db(_begin, asked)
    listener = Listener()
    listener.user_id, listener.channels = asked.user.pk, asked.channels
    async with aclosing(stream(asked, listener)) as chunks:
        async for chunk in chunks:
            for last in _ID.findall(chunk)[-1:]:
                if ":" in last:  # but for "error"
                    asked.channel_last_ids.update(parse_id(last))
            yield chunk


def _begin(asked: EventRequest) -> None:
    storage, manager = get_storage(), get_channelmanager()
    for channel in asked.channels if storage else ():
        if channel not in asked.channel_last_ids and manager.is_channel_reliable(channel):
            asked.channel_last_ids[channel] = str(storage.get_current_id(channel))
