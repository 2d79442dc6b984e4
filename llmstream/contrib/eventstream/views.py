"""The stream of notifications: django-eventstream's, for as long as its client may have it open."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET
from django_eventstream.utils import add_default_headers, get_channelmanager

from ...access import Access, review
from ...conf import get_settings
from ...database import release_request_connections, run_db
from ...exceptions import LLMStreamError, NotAuthenticated
from ...http.streams import check_streaming
from ...permissions import Requester, get_policy
from .position import frames, parse_request


@require_GET
@login_not_required
def notifications(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
    """Stream a signed-in user's notifications; 400, 401 and 501 in the envelope that all our errors have.

    The stream ends within a minute when its client signs out or loses a channel, and now and then in any case;
    EventSource comes back by itself with the id of the last notification.
    """
    try:
        check_streaming(request)
        requester = get_policy().identify(request)
        if not requester.is_authenticated:
            raise NotAuthenticated
        channels = get_channelmanager().get_channels_for_request(request, kwargs)
        asked = parse_request(request, requester, channels)
    except LLMStreamError as error:
        return JsonResponse(error.envelope(), status=error.status)
    watched = Watched(Access.of(request, requester), channels)
    response = StreamingHttpResponse(watched.body(frames(asked)), content_type="text/event-stream")
    add_default_headers(response, request=request)
    # A Content-Encoding of its own keeps GZipMiddleware away; the rest keeps proxies from holding the stream back.
    response["Content-Encoding"] = "identity"
    response["Cache-Control"] = "no-cache, no-transform"
    return response


class Watched:
    """An open stream of notifications, looked up again every ``ACCESS_INTERVAL``."""

    def __init__(self, access: Access, channels: Collection[str]) -> None:
        self.access = access
        self._channels = channels
        self._requester: Requester | None = None

    async def body(self, chunks: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        """Pass the frames on. There is one at least every 20 s, so this is how often anything is looked up."""
        clock, settings = asyncio.get_running_loop().time, get_settings()
        ends_at = clock() + settings.stream_lifetime * random.uniform(0.9, 1.1)  # noqa: S311
        looked_at = clock()
        async with aclosing(chunks):
            async for chunk in chunks:
                if clock() - looked_at >= settings.access_interval:
                    if not await self._is_permitted():
                        return
                    looked_at = clock()
                # Each read of the rows leaves a connection behind, which would stay open as long as the stream.
                await release_request_connections()
                yield chunk
                if clock() >= ends_at:
                    return

    def shown(self) -> tuple[int, ...]:
        """Return no conversations: the channels are looked up by their names."""
        return ()

    def review(self, requester: Requester | None, readable: Collection[int]) -> None:
        """Take who the client is now."""
        self._requester = requester

    async def _is_permitted(self) -> bool:
        try:
            await review([self])
            return await run_db(self._may_read)
        except DatabaseError:
            return True  # asked again with the next frame

    def _may_read(self) -> bool:
        if self._requester is None:
            return False
        manager = get_channelmanager()
        return all(manager.can_read_channel(self._requester.user, channel) for channel in self._channels)
