"""Who is present on the sockets of this process: written together, and read for all rooms at once.

One task at a time does the database work. What it cannot do it leaves to the next beat, which every process has every
``presence_interval``; that also finds what no message told: lost announcements, and processes that died.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from django.db import Error as DatabaseError

from ..conf import get_settings
from ..database import run_db
from ..engine import Engine
from ..models import Conversation
from ..permissions import Requester
from ..presence import Attendees, Seat, record, sweep, who
from .roster import CHANGED, Roster, Viewer

logger = logging.getLogger("llmstream.sockets")

#: Seconds between two rounds, in which what changes is gathered.
_PAUSE = 0.02


class Attendance:
    """The presences of one engine's sockets, and the rosters of the conversations that they have open."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._node: int | None = None
        self._seats: dict[tuple[int, str], Seat] = {}
        self._rosters: dict[int, Roster] = {}
        #: Seats that were taken or left since the last write.
        self._moved: dict[tuple[int, str], Seat] = {}
        #: Rosters that must be read.
        self._stale: set[Roster] = set()
        self._next_beat = 0.0
        self._beating = False
        self._working: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        engine.tickers.append(self._tick)

    def enter(self, viewer: Viewer, conversation: Conversation, requester: Requester) -> Roster:
        """Make a socket present in a conversation."""
        if (roster := self._rosters.get(conversation.pk)) is None:
            roster = self._rosters[conversation.pk] = Roster(self._engine, conversation, self._look)
        roster.welcome(viewer)
        user = requester.user_or_none
        self._move(Seat(conversation.pk, viewer.connection, user and user.pk, requester.anonymous_id), present=True)
        return roster

    def leave(self, viewer: Viewer, roster: Roster) -> None:
        """End a socket's presence."""
        roster.dismiss(viewer)
        if seat := self._seats.get((roster.conversation, viewer.connection)):
            self._move(seat, present=False)
        if not roster.viewers and self._rosters.get(roster.conversation) is roster:
            del self._rosters[roster.conversation]
            self._stale.discard(roster)
            roster.close()

    async def members(self, roster: Roster) -> Attendees:
        """Read who is in a conversation, with everybody whom this process has let in or out before."""
        await self._write()
        return (await self._read([roster]))[roster.conversation]

    def _move(self, seat: Seat, *, present: bool) -> None:
        key = seat.conversation, seat.connection
        if present:
            self._seats[key] = seat
        else:
            del self._seats[key]
        self._moved[key] = seat
        self._work_on()

    def _look(self, roster: Roster) -> None:
        self._stale.add(roster)
        self._work_on()

    def _tick(self, now: float) -> None:
        if now >= self._next_beat:
            self._next_beat = now + get_settings().presence_interval
            self._beating = bool(self._seats)
            self._stale.update(self._rosters.values())
            if self._beating or self._stale or self._moved:
                self._work_on()

    def _work_on(self) -> None:
        if self._working is None or self._working.done():
            self._working = self._engine.spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._moved or self._beating or self._stale:
                await self._write()
                now = self._engine.loop.time()
                if due := [roster for roster in self._stale if roster.due <= now]:
                    self._stale.difference_update(due)
                    await self._read(due)
                await asyncio.sleep(_PAUSE)
        except DatabaseError:
            logger.warning("Presences could not be kept; trying again at the next beat")

    async def _write(self) -> None:
        """Write what has changed; when this returns, no earlier write is under way either."""
        async with self._writing:
            moved, self._moved = self._moved, {}
            beating, self._beating = self._beating, False
            if not moved and not beating:
                return
            entered = [seat for key, seat in moved.items() if key in self._seats]
            left = [seat for key, seat in moved.items() if key not in self._seats]
            try:
                self._node = await run_db(record, self._node, list(self._seats.values()), entered, left)
                if beating:
                    await run_db(sweep)
            except DatabaseError:
                self._moved = {**moved, **self._moved}
                raise
        for conversation in {seat.conversation for seat in moved.values()}:
            self._engine.broadcast(conversation, {"type": CHANGED})

    async def _read(self, rosters: Collection[Roster]) -> dict[int, Attendees]:
        asked_at = self._engine.loop.time()
        found = await run_db(who, [roster.conversation for roster in rosters])
        for roster in rosters:
            roster.update(found[roster.conversation], asked_at)
        return found
