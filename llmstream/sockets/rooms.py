"""A room: one conversation, or one answer in it, as one socket follows it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Protocol

from django.db import DatabaseError

from ..conf import get_settings
from ..database import run_db
from ..engine import Engine
from ..events import EventId
from ..exceptions import DatabaseUnavailable, LLMStreamError, NotFound
from ..lookup import find_conversation, find_generation
from ..models import Conversation, Membership
from ..permissions import Requester, get_policy
from ..readers import Reader, Start, resume
from ..snapshot import user_object
from .attendance import Attendance
from .closing import CloseCode, SocketClosed
from .frames import FORMAT, Ref, encode

logger = logging.getLogger("llmstream.sockets")


class Member(Protocol):
    """What a room needs of its socket."""

    engine: Engine
    connection: str
    requester: Requester
    rooms: dict[str, Room]

    def show(self, key: Hashable, frame: str) -> None:
        """Have a frame sent soon, instead of an older one with the same key."""

    def drop(self, room: str) -> None:
        """Send nothing more of what was to be shown of a room."""

    async def send(self, *frames: str) -> None:
        """Send frames; raises SocketClosed."""

    def close(self, code: CloseCode, error: LLMStreamError | None = None) -> None:
        """Have the socket closed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a join has found: where the room's events begin, None when there are none to come."""

    conversation: Conversation
    role: Membership.Role
    start: Start | None
    last_event_id: str
    recovered: bool

    def joined(self, ref: Ref) -> str:
        """Write the answer to the join."""
        return encode(
            "joined",
            ref,
            room=self.conversation.public_id,
            last_event_id=self.last_event_id,
            recovered=self.recovered,
            role=self.role.value,
        )


def find_entry(requester: Requester, room: str, last_event_id: str, generation: str) -> Entry:
    """Find where a join begins. Synchronous ORM work; raises NotFound."""
    conversation = find_conversation(requester, room)
    followed = find_generation(requester, generation) if generation else None
    if followed and followed.conversation_id != conversation.pk:
        raise NotFound
    start = resume(conversation, last_event_id or None, followed)
    role = get_policy().role(requester, conversation)
    if start is None:
        return Entry(conversation, role, None, last_event_id, recovered=True)
    begins = str(EventId(start.public_id, start.epoch, start.seq))
    return Entry(conversation, role, start, begins, recovered=bool(last_event_id) and not start.preface)


def _role(requester: Requester, room: str) -> Membership.Role:
    return get_policy().role(requester, find_conversation(requester, room))


class Room:
    """Streams a conversation to one socket from where the join began."""

    def __init__(self, socket: Member, entry: Entry) -> None:
        self.conversation = entry.conversation.pk
        self.public_id = entry.conversation.public_id
        self._role, self._role_until = entry.role, socket.engine.loop.time() + get_settings().access_interval
        user = socket.requester.user_or_none
        self.user = user_object(user) if user else None
        self._socket = socket
        self.roster = socket.engine.part(Attendance).enter(socket, entry.conversation, socket.requester)
        # Of the start nothing is kept but what the reader keeps: its snapshot may be large.
        reader = Reader(socket.engine.hub, entry.start, FORMAT) if entry.start else None
        self.task = socket.engine.spawn(self._run(reader))

    async def _run(self, reader: Reader[tuple[str, ...]] | None) -> None:
        try:
            await self.end(await self._stream(reader) if reader else "ended")
        except SocketClosed:
            pass
        except DatabaseError:
            logger.warning("The database failed under a room", exc_info=True)
            self._socket.close(CloseCode.FAILED, DatabaseUnavailable())
        except Exception:
            logger.exception("A room broke off")
            self._socket.close(CloseCode.FAILED, LLMStreamError())

    async def _stream(self, reader: Reader[tuple[str, ...]]) -> str:
        """Send events to their end; return why it is there."""
        try:
            async with aclosing(reader.chunks()) as chunks:
                async for chunk in chunks:
                    if chunk:
                        await self._socket.send(*chunk)
                        chunk = None  # Not kept while the next one is awaited.
        except NotFound:
            return "not_found"
        return "ended"

    async def end(self, reason: str) -> None:
        """Tell the client that the room is over."""
        if self._socket.rooms.get(self.public_id) is self:
            self.forget()
            await self._socket.send(encode("end", room=self.public_id, reason=reason))

    def forget(self) -> None:
        """Take the room off its socket."""
        del self._socket.rooms[self.public_id]
        self._socket.drop(self.public_id)
        self._socket.engine.part(Attendance).leave(self._socket, self.roster)

    async def current_role(self) -> Membership.Role:
        """Return what the client may do here, as of the last ``access_interval``; raises NotFound."""
        now = self._socket.engine.loop.time()
        if now >= self._role_until:
            self._role_until = now + get_settings().access_interval
            self._role = await run_db(_role, self._socket.requester, self.public_id)
        return self._role

    def expel(self) -> None:
        """End the room of somebody who may no longer read it."""
        self._socket.engine.spawn(self._expel())

    async def _expel(self) -> None:
        await self.stop()
        with suppress(SocketClosed):
            await self.end("not_found")

    async def stop(self) -> None:
        """Send nothing more of the room; returns when its task has ended."""
        self.task.cancel()
        await asyncio.wait({self.task})
