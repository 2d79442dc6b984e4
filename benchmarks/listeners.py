"""What is measured over WebSockets: how a socket of a room is opened, and how the room's answer is asked for.

Rooms are numbers: 0 for the warm-up, 1 for the fan-out, the others have one socket each.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .client import handshake, post, text_frame
from .source import Answer
from .subjects import Access, Subject, prompt, stored_tokens

WARM_UP_ROOM, ROOM, FIRST_OWN_ROOM = range(3)


@dataclass(frozen=True, slots=True)
class Listener(Subject):
    """A server whose sockets say nothing: the path names the room."""

    def socket(self, access: Access | None, seat: int, room: int) -> tuple[bytes, bytes]:
        """The handshake of a user's socket, and the frame that follows it."""
        return handshake(f"/rooms/{room}", _seated(access, seat)), b""

    def ask(self, answer: Answer, access: Access | None, room: int) -> bytes:
        """The request that starts what a room's sockets see."""
        return post(f"/rooms/{room}?{answer.query}", access.headers if access else [])


@dataclass(frozen=True, slots=True)
class RoomSite(Listener):
    """The site with llmstream: a socket joins a conversation, the answer is that to a prompt in it."""

    def socket(self, access: Access | None, seat: int, room: int) -> tuple[bytes, bytes]:
        assert access
        join = json.dumps({"type": "join", "room": _conversation(access, room)})
        return handshake("/ws/llmstream/", _seated(access, seat)), text_frame(join)

    def ask(self, answer: Answer, access: Access | None, room: int) -> bytes:
        assert access
        return prompt(answer, access, _conversation(access, room))

    def stored(self) -> tuple[str, ...]:
        return stored_tokens(self.engine)


def _seated(access: Access | None, seat: int) -> list[str]:
    return [f"Cookie: sessionid={access.seats[seat]}"] if access else []


def _conversation(access: Access, room: int) -> str:
    return access.rooms[room] if room < FIRST_OWN_ROOM else access.conversations[room - FIRST_OWN_ROOM]


_CHANNELS: dict[str, Any] = {
    "application": "benchmarks.peers.channels_app:app",
    "engine": "sqlite",
    "template": "rooms",
}
_SITE: dict[str, Any] = {"application": "benchmarks.site.asgi:application", "template": "rooms"}

RAW = Listener("raw-socket", "raw ASGI", "benchmarks.peers.raw_socket:app")
PUBSUB = Listener("channels-pubsub", "Channels, Pub/Sub layer", layer="pubsub", **_CHANNELS)
CORE = Listener("channels-core", "Channels, core Redis layer", layer="core", **_CHANNELS)
SQLITE = RoomSite("llmstream-sqlite", "**llmstream, SQLite**", engine="sqlite", **_SITE)
POSTGRES = RoomSite("llmstream-postgres", "**llmstream, PostgreSQL**", engine="postgres", **_SITE)
LAYERED = RoomSite(
    "llmstream-layer", "**llmstream, PostgreSQL, Pub/Sub layer**", engine="postgres", layer="pubsub", **_SITE
)
