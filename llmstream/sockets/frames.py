"""The frames of docs/websocket.md: the shapes of the client's, and how the server's are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from ..conf import get_settings
from ..events import PUBLIC_ID_LENGTH, WireEvent
from ..exceptions import InvalidRequest, LLMStreamError, MalformedJSON, TooLarge
from ..fields import Fields
from ..formats import WireFormat
from ..log.rows import Row
from .closing import CloseCode, Closing

#: What a client chooses to tell the answers to its frames apart.
Ref: TypeAlias = str | float | None

_REF_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields that make a type of frame, and those that it may have beside them."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


#: The kind of every field, by name.
KINDS: Final[Mapping[str, type]] = {
    "room": str,
    "last_event_id": str,
    "generation": str,
    "content": str,
    "client_id": str,
    "model": str,
    "busy": str,
    "parent": str,
    "edits": str,
    "attachments": list,
    "leaf": str,
    "call": str,
    "active": bool,
    "state": dict,
}
#: The types of frames that a client may send.
SHAPES: Final[Mapping[str, Shape]] = {
    "join": Shape(("room",), ("last_event_id", "generation")),
    "leave": Shape(("room",)),
    "send": Shape(("room",), ("content", "attachments", "client_id", "model", "busy", "parent", "edits")),
    "stop": Shape(("generation",)),
    "retry": Shape(("generation",), ("client_id", "model", "busy")),
    "choose": Shape(("room", "leaf")),
    "steer": Shape(("generation",), ("content",)),
    "approve": Shape(("generation", "call")),
    "deny": Shape(("generation", "call")),
    "typing": Shape(("room",), ("active",)),
    "presence": Shape(("room",), ("state",)),
    "ping": Shape(),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A well-formed frame of a client."""

    type: str
    ref: Ref
    data: Mapping[str, Any]

    def text(self, name: str) -> str:
        """Return a string field, empty when absent."""
        return self.data.get(name) or ""

    @property
    def fields(self) -> Fields:
        """The frame as the commands read it."""
        return Fields(dict(self.data))


def parse(text: str | None) -> Frame:
    """Read a client's frame, None for a binary one; raises Closing when it is none or too large."""
    if text is None:
        raise Closing(CloseCode.MALFORMED, InvalidRequest("A frame must be text."))
    limit = get_settings().max_frame_bytes
    if len(text) > limit or (not text.isascii() and len(text.encode(errors="replace")) > limit):
        raise Closing(CloseCode.FRAME_TOO_LARGE, TooLarge(f"A frame may have at most {limit} bytes."))
    try:
        data = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        data = None
    if not isinstance(data, dict):
        raise Closing(CloseCode.MALFORMED, MalformedJSON("A frame must be a JSON object."))
    return _checked(data)


def _checked(data: dict[str, Any]) -> Frame:
    ref = data.get("ref")
    if ref is not None and not _is_ref(ref):
        raise _malformed(f"ref must be a number or a string of at most {_REF_LENGTH} characters.")
    kind = data.get("type")
    shape = SHAPES.get(kind) if isinstance(kind, str) else None
    if not isinstance(kind, str) or shape is None:
        raise _malformed(f"type must be one of: {', '.join(SHAPES)}.", ref)
    for name in shape.required:
        if data.get(name) is None:
            raise _malformed(f"{name} is missing.", ref)
    for name in shape.required + shape.optional:
        value = data.get(name)
        if value is not None and not isinstance(value, KINDS[name]):
            raise _malformed(f"{name} is not of its kind.", ref)
    return Frame(kind, ref, data)


def _is_ref(ref: Any) -> bool:
    if isinstance(ref, str):
        return len(ref) <= _REF_LENGTH
    return isinstance(ref, int | float) and not isinstance(ref, bool)


def _malformed(message: str, ref: Ref = None) -> Closing:
    return Closing(CloseCode.MALFORMED, InvalidRequest(message), ref)


def encode(kind: str, ref: Ref = None, **members: Any) -> str:
    """Write a frame of the server; ``ref`` is left out when there is none."""
    head = {"type": kind} if ref is None else {"type": kind, "ref": ref}
    return orjson.dumps({**head, **members}).decode()


def encode_error(error: LLMStreamError, ref: Ref = None, **members: Any) -> str:
    """Write an ``error`` frame."""
    return encode("error", ref, **members, **error.envelope())


def _encode_row(row: Row, event_id: str) -> str:
    room = event_id[:PUBLIC_ID_LENGTH].encode()
    return (b'{"type":"event","room":"%b","id":"%b","event":%b}' % (room, event_id.encode(), row.data)).decode()


def _encode_event(conversation: str, event: WireEvent, event_id: str | None) -> str:
    return encode("event", room=conversation, id=event_id, event=event)


#: Events as frames: one write is a tuple of them.
FORMAT: WireFormat[tuple[str, ...]] = WireFormat(_encode_row, _encode_event, tuple)
