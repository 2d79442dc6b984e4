"""How a run says what is no text: the event goes to the log and into the answer, so that both agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from ..answer import Answer
from ..events import CALL_ID, DATA, STEER_ACCEPTED, TOOL_CALL, WireEvent, new_public_id
from ..exceptions import LLMStreamError
from ..log.writer import Lane, Writer
from .claims import Claim

#: Events that begin a part of the message.
_NEW_PARTS: Final = frozenset({TOOL_CALL, DATA, STEER_ACCEPTED})


def open_lane(claim: Claim, writer: Writer, *, on_lost: Callable[[LLMStreamError], None]) -> Lane:
    """Return a generation's way into the log, for its owner."""
    return Lane(
        writer,
        conversation=claim.conversation,
        generation=claim.generation,
        fence=claim.fence,
        message_id=claim.message_id,
        generation_id=claim.generation_id,
        stored=claim.stored_events,
        on_lost=on_lost,
    )


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

    def take(self, steers: Iterable[WireEvent]) -> None:
        """Tell that the model gets steering messages, each but once."""
        for steer in steers:
            if steer["steer"] not in self._answer.taken:
                self.tell(STEER_ACCEPTED, **{key: steer[key] for key in ("steer", "content", "author")})

    def call_id(self, given: str) -> str:
        """Return the provider's id of a tool call if it can be ours, too, or a new one."""
        return given if CALL_ID.fullmatch(given) and not self._answer.knows(given) else new_public_id()
