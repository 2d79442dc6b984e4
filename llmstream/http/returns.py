"""Clients that come back to their streams, looked up together.

When a server has died, everybody who was there comes back at once. A request of each through Django costs ten times
what the stream itself does, and asks the database for the session, the user and the conversation. Who comes back with a
ticket went through all that a short while ago; whether it still holds is asked in a few queries for all who wait, as it
is for those who never left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from io import BytesIO
from typing import TypeAlias

from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from ..access import look_up
from ..database import run_db
from ..engine import Engine, get_engine
from ..exceptions import PermissionDenied
from ..models import Conversation
from ..readers import go_on
from .endpoint import check_reader
from .events import greeted, last_event_id, wants_json
from .handoff import Scope
from .streams import EventStream
from .tickets import Ticket, read

logger = logging.getLogger("llmstream.http")

#: Those looked up together.
_PORTION = 500

_Waiting: TypeAlias = tuple[Ticket, asyncio.Future[Conversation | None]]


class Returns:
    """Those who wait to be looked up, on an engine. While one look goes on the next ones gather."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: list[_Waiting] = []
        self._looking = False

    async def find(self, ticket: Ticket) -> Conversation | None:
        """Return the conversation that a ticket is for, as it is now; None when its holder may not read it any more."""
        waiter: asyncio.Future[Conversation | None] = self._engine.loop.create_future()
        self._waiting.append((ticket, waiter))
        if not self._looking:
            self._looking = True
            self._engine.spawn(self._look())
        return await waiter

    async def _look(self) -> None:
        portion: list[_Waiting] = []
        try:
            while self._waiting:
                portion, self._waiting = self._waiting[:_PORTION], self._waiting[_PORTION:]
                found = await _found([ticket for ticket, _ in portion])
                for (_, waiter), conversation in zip(portion, found, strict=True):
                    _answer(waiter, conversation)
        finally:
            self._looking = False
            # When the engine is closed, nobody is left waiting.
            for _, waiter in (*portion, *self._waiting):
                _answer(waiter, None)


def _answer(waiter: asyncio.Future[Conversation | None], conversation: Conversation | None) -> None:
    if not waiter.done():
        waiter.set_result(conversation)


async def _found(tickets: Sequence[Ticket]) -> Sequence[Conversation | None]:
    try:
        return await run_db(_readable, tickets)
    except Exception:  # the site's database, policy, session store or user model
        logger.warning("Clients that came back could not be looked up; each is asked anew", exc_info=True)
        return [None] * len(tickets)


def _readable(tickets: Sequence[Ticket]) -> list[Conversation | None]:
    outcomes = look_up([(ticket.access, (ticket.conversation,)) for ticket in tickets])
    conversations = Conversation.objects.in_bulk({pk for outcome in outcomes for pk in outcome.readable})
    return [
        conversations.get(ticket.conversation) if ticket.conversation in outcome.readable else None
        for ticket, outcome in zip(tickets, outcomes, strict=True)
    ]


async def returning(scope: Scope) -> EventStream | None:
    """Return the stream of a client that comes back and may have it; None for all others, who make a whole request.

    That is whoever has no good ticket, asks for anything but the stream, comes from another origin, or has to be told
    more than what has happened since.
    """
    try:
        request = ASGIRequest(scope, BytesIO())
        position = last_event_id(request)
        ticket = read(request)
        if ticket is None or position is None or not _is_plain(request):
            return None
        conversation = await get_engine().part(Returns).find(ticket)
        start = conversation and go_on(conversation, position)
        return EventStream(get_engine(), greeted(request, start), ticket.access) if start else None
    except (SuspiciousOperation, ValueError):  # bytes that are no UTF-8, a host that is not the site's
        return None


def _is_plain(request: HttpRequest) -> bool:
    if wants_json(request) or "Origin" in request.headers:
        return False
    try:
        check_reader(request)
    except PermissionDenied:
        return False
    return True
