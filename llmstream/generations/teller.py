"""How a run says what is no text: the event goes to the log and into the answer, so that both agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..answer import Answer
from ..events import CALL_ID, DATA, STEER_ACCEPTED, TOOL_CALL, WireEvent, new_public_id
from ..log.writer import Lane

#: Events that begin a part of the message.
_NEW_PARTS: Final = frozenset({TOOL_CALL, DATA, STEER_ACCEPTED})


class RunTeller:
    """Appends events of one generation."""

    def __init__(self, lane: Lane, answer: Answer, message: str, generation: str) -> None:
        self.ids = {"message": message, "generation": generation}
        self._lane = lane
        self._answer = answer

    def tell(self, kind: str, **fields: Any) -> None:
        """Store an event and show it."""
        self._lane.append(self.build(kind, **fields))

    def tell_and_store(self, store: Callable[[], None], kind: str, **fields: Any) -> None:
        """Store an event together with ORM work, and show it."""
        self._lane.append(self.build(kind, **fields), store)

    def build(self, kind: str, **fields: Any) -> WireEvent:
        """Return an event that the answer has taken and that still has to be stored."""
        part = {"part": self._answer.next_part} if kind in _NEW_PARTS else {}
        event = {"type": kind, **self.ids, **part, **fields}
        self._answer.apply(event)
        return event

    def call_id(self, given: str) -> str:
        """Return the provider's id of a tool call if it can be ours, too, or a new one."""
        return given if CALL_ID.fullmatch(given) and not self._answer.knows(given) else new_public_id()
