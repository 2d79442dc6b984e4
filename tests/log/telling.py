"""Answers to compact, and what a client shows of them."""

from __future__ import annotations

from typing import Any

from llmstream.answer import Answer
from llmstream.events import (
    PART_KINDS,
    REASONING_DELTA,
    RESET,
    SNAPSHOT,
    STEER,
    TEXT_DELTA,
    TOOL_CALL,
    TOOL_PROGRESS,
    TOOL_RESULT,
    delta,
)
from llmstream.generations.endings import Ending, end
from llmstream.generations.prompts import Sent
from llmstream.log.transaction import locked
from llmstream.models import Conversation, Event, Generation
from tests.support import ask, conversation, user

SPOKEN = [
    *((REASONING_DELTA, piece) for piece in ("Let ", "me ", "see. ")),
    *((TEXT_DELTA, piece) for piece in ("One ", "two ")),
    ("other", "meanwhile "),
    *((TEXT_DELTA, piece) for piece in ("three ", "four ", "five ")),
    ("tool", "call"),
    *((TOOL_PROGRESS, piece) for piece in "123"),
    ("tool", "result"),
    *((TEXT_DELTA, piece) for piece in ("six ", "seven")),
]


class Told:
    """Writes what a generation says, as its run would."""

    def __init__(self, sent: Sent, other: Sent) -> None:
        self.sent, self.other = sent, other
        self.answer = Answer()
        self.call = ""

    def tell(self, op: str, piece: str) -> None:
        """Store one event."""
        generation, ids = self.sent.generation, {"message": self.sent.answer.public_id}
        ids["generation"] = generation.public_id
        with locked(self.sent.conversation.pk) as log:
            if op == "other":
                names = self.other.answer.public_id, self.other.generation.public_id
                log.append(delta(TEXT_DELTA, *names, 0, piece), self.other.generation.pk)
            elif op in PART_KINDS:
                log.append(
                    delta(op, ids["message"], ids["generation"], self.answer.grow(op, piece), piece), generation.pk
                )
            elif event := self._event(op, piece, ids):
                self.answer.apply(event)
                log.append(event, generation.pk)

    def _event(self, op: str, piece: str, ids: dict[str, str]) -> dict[str, Any] | None:
        if op == TOOL_PROGRESS:
            return {"type": op, **ids, "call": self.call, "progress": piece} if self.call else None
        if op == STEER:
            return {"type": op, **ids, "steer": piece, "content": piece, "author": None}
        if self.call:
            ended, self.call = self.call, ""
            return {"type": TOOL_RESULT, **ids, "call": ended, "tool": "t", "output": piece}
        part, self.call = self.answer.next_part, f"call{self.answer.next_part}"
        return {"type": TOOL_CALL, **ids, "part": part, "call": self.call, "tool": "t", "input": {}, "step": 1}


def told(ops: list[tuple[str, str]]) -> tuple[Sent, Sent]:
    """Return two prompts of one conversation whose answers have ended, one within the other."""
    sent = ask(conversation(owner=user()))
    other = ask(sent.conversation, busy="queue")
    teller = Told(sent, other)
    for op, piece in ops:
        teller.tell(op, piece)
    for item in (sent, other):
        with locked(sent.conversation.pk) as log:
            end(log, Generation.objects.select_related("message").get(pk=item.generation.pk), Ending("completed"))
    return sent, other


class Screen:
    """What a client shows: it appends deltas, and begins anew with a snapshot."""

    def __init__(self) -> None:
        self.messages: dict[str, list[dict[str, Any]]] = {}
        self.resets: list[str] = []

    def take(self, event: dict[str, Any]) -> None:
        """Show an event."""
        kind = event["type"]
        if kind == RESET:
            self.resets.append(event["reason"])
        elif kind == SNAPSHOT:
            self.messages = {item["id"]: item["parts"] for item in event["messages"]}
        elif kind in PART_KINDS:
            parts = self.messages.setdefault(event["message"], [])
            if len(parts) == event["part"]:
                parts.append({"type": PART_KINDS[kind], "text": ""})
            parts[event["part"]]["text"] += event["delta"]
        elif kind == TOOL_CALL:
            assert len(self.messages.setdefault(event["message"], [])) == event["part"]
            self.messages[event["message"]].append({"call": event["call"]})
        elif kind in (TOOL_PROGRESS, TOOL_RESULT):
            (part,) = [part for part in self.messages[event["message"]] if part.get("call") == event["call"]]
            part.pop("progress", None)
            part.update({name: event[name] for name in ("progress", "output", "error") if name in event})

    def shows(self, message: str) -> list[dict[str, Any]]:
        """Return what is shown of a message's parts."""
        shown = ("text", "call", "output", "error", "progress")
        return [{name: part[name] for name in shown if name in part} for part in self.messages.get(message, [])]


def spoken(*, alone: bool = False) -> tuple[Conversation, Generation]:
    """Return an answer that has ended, and its conversation; ``alone`` without the text of another within it."""
    sent, _other = told([op for op in SPOKEN if not alone or op[0] != "other"])
    found = Generation.objects.select_related("conversation", "message").get(pk=sent.generation.pk)
    return found.conversation, found


def no_pause(_: float) -> None:
    """Go on at once."""


def is_inside(place: int, owner: Conversation) -> bool:
    """Whether a position lies among deltas that are one row now."""
    return Event.objects.filter(conversation=owner, first_seq__lte=place, seq__gt=place).exists()
