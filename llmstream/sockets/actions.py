"""What each type of frame does. Every action returns the frame that answers it, or None."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import orjson

from .. import commands
from ..conf import get_settings
from ..database import run_db
from ..engine import Engine
from ..events import clean_json
from ..exceptions import InvalidRequest, LimitExceeded, NotFound, PermissionDenied, TooLarge
from ..fields import Fields
from ..models import Membership
from ..permissions import Requester
from .attendance import Attendance
from .frames import Frame, encode
from .rooms import Member, Room, find_entry
from .roster import STATE, TYPING

_STATE_BYTES = 1_024


Action: TypeAlias = Callable[[Member, Frame], Awaitable[str | None]]


async def join(socket: Member, frame: Frame) -> None:
    """Begin a room, or begin it anew from another position."""
    wanted = frame.text("room"), frame.text("last_event_id"), frame.text("generation")
    entry = await run_db(find_entry, socket.requester, *wanted)
    room = entry.conversation.public_id
    if (earlier := socket.rooms.get(room)) is None and len(socket.rooms) >= get_settings().max_rooms:
        raise LimitExceeded
    if earlier:
        await earlier.stop()
    await socket.send(entry.joined(frame.ref))
    socket.rooms[room] = Room(socket, entry)


async def leave(socket: Member, frame: Frame) -> str:
    """End a room; one that was not joined stays so."""
    if room := socket.rooms.get(frame.text("room")):
        await room.stop()
        await room.end("left")
    return encode("ack", frame.ref, room=frame.text("room"))


async def send(socket: Member, frame: Frame) -> str:
    """Send a prompt."""
    result = await run_db(_send, socket.requester, socket.engine, frame.text("room"), frame.fields)
    return encode("ack", frame.ref, client_id=frame.text("client_id") or None, **result)


async def stop(socket: Member, frame: Frame) -> str:
    """Stop an answer."""
    return encode("ack", frame.ref, **await run_db(_stop, socket.requester, frame.text("generation")))


async def retry(socket: Member, frame: Frame) -> str:
    """Answer the same prompt again."""
    result = await run_db(_retry, socket.requester, socket.engine, frame.text("generation"), frame.fields)
    return encode("ack", frame.ref, client_id=frame.text("client_id") or None, **result)


async def choose(socket: Member, frame: Frame) -> str:
    """Show another branch."""
    return encode("ack", frame.ref, **await run_db(_choose, socket.requester, frame.text("room"), frame.fields))


async def steer(socket: Member, frame: Frame) -> str:
    """Hand a message to an answer at work."""
    result = await run_db(_steer, socket.requester, frame.text("generation"), frame.fields)
    return encode("ack", frame.ref, **result)


async def decide(socket: Member, frame: Frame) -> str:
    """Approve or deny a tool call."""
    named = frame.text("generation"), frame.text("call")
    return encode("ack", frame.ref, **await run_db(_decide, socket.requester, *named, frame.type))


async def typing(socket: Member, frame: Frame) -> None:
    """Show the others in a room that somebody types, or does no longer."""
    room = _joined(socket, frame)
    if await room.current_role() == Membership.Role.READER:
        raise PermissionDenied
    room.roster.tell(TYPING, socket, room.user, frame.data.get("active") is not False)


async def presence(socket: Member, frame: Frame) -> str:
    """Share a state with the others in a room; without one, tell who is there."""
    room = _joined(socket, frame)
    if "state" not in frame.data:
        attendees = await socket.engine.part(Attendance).members(room.roster)
        return room.roster.members_frame(attendees, frame.ref)
    state = frame.data["state"]
    try:
        clean_json(state)
    except TypeError:  # what others are sent is deeper still, and must not fail there
        raise InvalidRequest("state is nested too deep.") from None
    if len(orjson.dumps(state)) > _STATE_BYTES:
        raise TooLarge(f"state may have at most {_STATE_BYTES} bytes.")
    room.roster.tell(STATE, socket, room.user, state)
    return room.roster.state_frame(socket, room.user, state, frame.ref)


def _joined(socket: Member, frame: Frame) -> Room:
    if (room := socket.rooms.get(frame.text("room"))) is None:
        raise NotFound("You have not joined such a room.")
    return room


ACTIONS: Final[Mapping[str, Action]] = {
    "join": join,
    "leave": leave,
    "send": send,
    "stop": stop,
    "retry": retry,
    "choose": choose,
    "steer": steer,
    "approve": decide,
    "deny": decide,
    "typing": typing,
    "presence": presence,
}


async def perform(socket: Member, frame: Frame) -> str | None:
    """Do what a frame asks for; raises LLMStreamError when it may not or cannot be done."""
    return await ACTIONS[frame.type](socket, frame)


def _send(requester: Requester, engine: Engine, room: str, fields: Fields) -> dict[str, Any]:
    return commands.sent_object(commands.send(requester, engine, room, fields))


def _stop(requester: Requester, generation: str) -> dict[str, Any]:
    return commands.generation_result(commands.stop(requester, generation))


def _retry(requester: Requester, engine: Engine, generation: str, fields: Fields) -> dict[str, Any]:
    return commands.sent_object(commands.retry(requester, engine, generation, fields))


def _choose(requester: Requester, room: str, fields: Fields) -> dict[str, Any]:
    return commands.choice_object(commands.choose(requester, room, fields))


def _steer(requester: Requester, generation: str, fields: Fields) -> dict[str, Any]:
    return commands.generation_result(commands.steer(requester, generation, fields))


def _decide(requester: Requester, generation: str, call: str, decision: str) -> dict[str, Any]:
    return commands.generation_result(commands.decide(requester, generation, call, decision))
