"""What a wire format is to the readers: how an event becomes bytes or text, and how several become one write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .events import WireEvent
from .log.rows import Row

#: What one write of a transport takes: bytes of a stream, or frames of a socket. Empty when there is nothing to send.
Body = TypeVar("Body")


@dataclass(frozen=True, slots=True, eq=False)
class WireFormat(Generic[Body]):
    """One way to put events on a wire; a module-level constant of its transport.

    Every process encodes a batch once per format, however many clients read it. So a frame may depend on the event and
    its id, and on nothing of the client.
    """

    #: Encodes a stored event with its id.
    encode_row: Callable[[Row, str], Any]
    #: Encodes an event that is not stored: the conversation's public id, the event, and its id if it has one.
    encode_event: Callable[[str, WireEvent, str | None], Any]
    #: Joins encoded events into one body.
    join: Callable[[list[Any]], Body]
