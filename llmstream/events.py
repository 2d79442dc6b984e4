"""The vocabulary of the event log and the one place where event ids are printed and parsed.

An event is a JSON object with ``type`` and, where they apply, ``message`` and ``generation`` (public ids). The types
and their fields are the same over every transport; see the reference in ``docs/events.md``.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import string
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

#: A wire event: a JSON object whose ``type`` is always present.
WireEvent: TypeAlias = dict[str, Any]

SNAPSHOT: Final = "snapshot"
RESET: Final = "reset"
READY: Final = "ready"
HEARTBEAT: Final = "heartbeat"
ROTATE: Final = "rotate"
ERROR: Final = "error"

MESSAGE_CREATED: Final = "message-created"
BRANCH_CHOSEN: Final = "branch-chosen"
GENERATION_START: Final = "generation-start"
CONTEXT: Final = "context"
TEXT_DELTA: Final = "text-delta"
REASONING_DELTA: Final = "reasoning-delta"
PHASE: Final = "phase"
DATA: Final = "data"
TOOL_CALL: Final = "tool-call"
TOOL_PROGRESS: Final = "tool-progress"
TOOL_APPROVAL_REQUEST: Final = "tool-approval-request"
TOOL_APPROVAL_RESPONSE: Final = "tool-approval-response"
TOOL_RESULT: Final = "tool-result"
STEER: Final = "steer"
STEER_ACCEPTED: Final = "steer-accepted"
USAGE: Final = "usage"
MESSAGE_END: Final = "message-end"

#: Types that are stored; the others belong to one connection.
STORED: Final = (
    *(MESSAGE_CREATED, BRANCH_CHOSEN, GENERATION_START, CONTEXT, TEXT_DELTA, REASONING_DELTA, PHASE, DATA),
    *(TOOL_CALL, TOOL_PROGRESS, TOOL_APPROVAL_REQUEST, TOOL_APPROVAL_RESPONSE, TOOL_RESULT),
    *(STEER, STEER_ACCEPTED, USAGE, MESSAGE_END),
)
#: Delta types and the kind of message part that each one grows.
PART_KINDS: Final = {TEXT_DELTA: "text", REASONING_DELTA: "reasoning"}

PUBLIC_ID_LENGTH: Final = 22
PUBLIC_ID_PATTERN: Final = r"[A-Za-z0-9]{22}"
EVENT_ID_MAX_LENGTH: Final = 64
#: Ids of tool calls, ours and those that providers give.
CALL_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
#: Arrays and objects around a piece of JSON data in a snapshot, a frame or a recording, and some more.
_LEVELS_AROUND: Final = 16
_ALPHABET: Final = string.ascii_letters + string.digits
# 61 bits more than the digits take, so that each is as likely as any other.
_ID_BYTES: Final = 24
_EVENT_ID = re.compile(rf"({PUBLIC_ID_PATTERN})\.([0-9]{{1,9}})\.([0-9]{{12}})", re.ASCII)


def new_public_id() -> str:
    """Return a random id of 131 bits: unguessable, URL-safe, without separators."""
    value = int.from_bytes(secrets.token_bytes(_ID_BYTES))
    digits = []
    for _ in range(PUBLIC_ID_LENGTH):
        value, digit = divmod(value, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


class EventId(NamedTuple):
    """The position after one event: ``<conversation>.<epoch>.<seq>``, opaque to clients.

    ``seq`` is zero-padded, so ids of one epoch sort as text. At most 64 bytes of ``[A-Za-z0-9._-]``.
    """

    conversation: str
    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.conversation}.{self.epoch}.{self.seq:012d}"

    @classmethod
    def parse(cls, text: str) -> EventId | None:
        """Return the id that ``text`` prints, or None when it is not one."""
        if len(text) > EVENT_ID_MAX_LENGTH or (match := _EVENT_ID.fullmatch(text)) is None:
            return None
        return cls(match[1], int(match[2]), int(match[3]))


def encode(event: WireEvent) -> bytes:
    """Encode an event as one line of UTF-8 JSON, which takes no more memory than it is long."""
    # orjson hands out the whole buffer that it wrote into, 4 kB for the smallest event; a copy leaves it behind.
    return b"".join((orjson.dumps(event), b""))


class WireDecoder(json.JSONDecoder):
    """Reads stored JSON as it was written: PostgreSQL gives 1e25 back as an integer, which no event may have."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "parse_int": _number})


def _number(text: str) -> float:
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 64 else float(number)


def clean_text(text: str) -> str:
    """Replace what no database and no UTF-8 stream can carry (NUL, lone surrogates) by U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean_json(value: Any) -> Any:
    """Return JSON data with every text cleaned as by ``clean_text``; raises TypeError for no JSON, or too deep."""
    try:
        if b"\\u0000" not in orjson.dumps(_surrounded(value)):
            return value
    except orjson.JSONEncodeError:
        pass  # of lone surrogates, or of what cleaning does not help
    try:
        cleaned = _cleaned(value)
    except RecursionError:
        raise TypeError("This is too deep for JSON.") from None
    orjson.dumps(_surrounded(cleaned))
    return cleaned


def _surrounded(value: Any) -> Any:
    for _ in range(_LEVELS_AROUND):
        value = [value]
    return value


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


def text_checksum(text: str) -> str:
    """Return ``sha256:`` and the hex digest of the UTF-8 text, as ``message-end`` carries it."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def delta(kind: str, message: str, generation: str, part: int, text: str) -> WireEvent:
    """Build a delta event; ``kind`` is one of ``PART_KINDS``."""
    return {"type": kind, "message": message, "generation": generation, "part": part, "delta": text}
