"""What the sockets of this process see of each other and of those elsewhere in one conversation.

Only the newest is kept: who is there, what each connection shares, and who is typing. A client gets the newest of each
when it takes it; what it missed in between is over.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeAlias

from ..brokers.base import Ephemeral
from ..engine import Engine
from ..models import Conversation
from ..presence import Attendees
from .frames import Ref, encode

#: Somebody's presence has changed: read who is there.
CHANGED = "presence"
#: A connection shares something, or is typing.
STATE, TYPING = "state", "typing"

User: TypeAlias = dict[str, str] | None

#: Seconds between two looks at who is there: some, and more in a full room.
_PAUSE = 0.05
_PAUSE_EACH = 0.002
#: A connection that has said something may take this long to be found present.
_ARRIVAL = 5.0


class Viewer(Protocol):
    """A socket in the room, as the roster sees it."""

    connection: str

    def show(self, key: Hashable, frame: str) -> None:
        """Have a frame sent soon, instead of an older one with the same key."""


class Roster:
    """One conversation's people, for the sockets of this process that have it open."""

    def __init__(self, engine: Engine, conversation: Conversation, look: Callable[[Roster], None]) -> None:
        self.conversation = conversation.pk
        #: The loop's time from which on it may be read again who is there.
        self.due = 0.0
        #: The sockets here, and whether they have been told who is there.
        self.viewers: dict[Viewer, bool] = {}
        self._room = conversation.public_id
        self._engine = engine
        self._look = look
        self._attendees: Attendees | None = None
        #: What each connection shares and whether it is typing, and when that was heard.
        self._shared: dict[tuple[str, str], tuple[Ephemeral, float]] = {}
        self._topic = engine.hub.follow(conversation.pk, conversation.public_id, conversation.epoch)
        self._topic.listeners.add(self.hear)

    def close(self) -> None:
        """Stop listening."""
        self._topic.listeners.discard(self.hear)
        self._engine.hub.unfollow(self._topic)

    def welcome(self, viewer: Viewer) -> None:
        """Show a socket what is known; who is there now follows when that has been read."""
        self.viewers[viewer] = False
        if self._attendees:
            self._show_members(viewer, self.members_frame(self._attendees))
        for key, (message, _) in self._shared.items():
            self._show(viewer, key, self._frame(message))

    def tell(self, kind: str, viewer: Viewer, user: User, value: Any) -> None:
        """Show everybody what a connection shares or whether it is typing; None and False end it."""
        message = {"type": kind, "connection": viewer.connection, "user": user, "value": value}
        self._engine.broadcast(self.conversation, message)

    def dismiss(self, viewer: Viewer) -> None:
        """Let a socket go, and end what it shared."""
        self.viewers.pop(viewer, None)
        for kind in (STATE, TYPING):
            if found := self._shared.get((kind, viewer.connection)):
                self._engine.broadcast(self.conversation, _over(found[0]))

    def hear(self, message: Ephemeral) -> None:
        """Take an ephemeral message of this conversation, from here or from another process."""
        if message["type"] == CHANGED:
            self._look(self)
            return
        key = message["type"], message["connection"]
        if message["value"] in (None, False):
            self._shared.pop(key, None)
        else:
            self._shared[key] = message, self._engine.loop.time()
        frame = self._frame(message)
        for viewer in self.viewers:
            self._show(viewer, key, frame)

    def update(self, attendees: Attendees, asked_at: float) -> None:
        """Take who is there, and forget what those share who are not."""
        self.due = asked_at + _PAUSE + _PAUSE_EACH * len(attendees.connections)
        for (_, connection), (message, heard) in list(self._shared.items()):
            if connection not in attendees.connections and heard < asked_at - _ARRIVAL:
                self.hear(_over(message))
        changed = self._attendees is None or self._attendees.members != attendees.members
        self._attendees = attendees
        frame = self.members_frame(attendees)
        for viewer, told in self.viewers.items():
            # A list that was read before a socket was written down is not for that socket.
            listed = viewer.connection in attendees.connections
            if listed and (changed or not told):
                self._show_members(viewer, frame)
            self.viewers[viewer] = listed

    def members_frame(self, attendees: Attendees, ref: Ref = None) -> str:
        """Write who is there."""
        return encode("presence", ref, room=self._room, members=attendees.members)

    def state_frame(self, viewer: Viewer, user: User, state: Any, ref: Ref = None) -> str:
        """Write what a connection shares."""
        return encode("presence", ref, room=self._room, user=user, connection=viewer.connection, state=state)

    def _frame(self, message: Ephemeral) -> str:
        who = {"room": self._room, "user": message["user"]}
        if message["type"] == STATE:
            return encode("presence", **who, connection=message["connection"], state=message["value"])
        return encode("typing", **who, active=message["value"])

    def _show(self, viewer: Viewer, key: tuple[str, str], frame: str) -> None:
        if key[1] != viewer.connection:
            viewer.show((self._room, *key), frame)

    def _show_members(self, viewer: Viewer, frame: str) -> None:
        viewer.show((self._room, CHANGED), frame)


def _over(message: Ephemeral) -> Ephemeral:
    return {**message, "value": None if message["type"] == STATE else False}
