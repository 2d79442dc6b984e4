"""What one client saw, and the checker that says whether it was the truth."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .events import text_of

DELTA_PARTS = {"text-delta": "text", "reasoning-delta": "reasoning", "refusal-delta": "refusal"}


@dataclass(frozen=True, slots=True)
class Received:
    """One event as it arrived; ``id`` is empty when it had none."""

    id: str
    type: str
    data: Mapping[str, Any]


@dataclass(slots=True)
class Connection:
    """One request of a client: the event id it came with, the answer's status, the events, and how it ended."""

    sent: str
    status: int = 0
    events: list[Received] = field(default_factory=list)
    ended: str = ""


@dataclass(slots=True)
class History:
    """All requests of one client, in order."""

    connections: list[Connection] = field(default_factory=list)

    @property
    def events(self) -> Iterator[Received]:
        """Every event of every connection."""
        for connection in self.connections:
            yield from connection.events

    @property
    def types(self) -> list[str]:
        """The types of all events."""
        return [event.type for event in self.events]

    @property
    def last_id(self) -> str:
        """The id to resume with."""
        return next((event.id for event in reversed(list(self.events)) if event.id), "")

    def terminals(self, generation: str) -> list[Received]:
        """The ``message-end`` events of a generation."""
        return [e for e in self.events if e.type == "message-end" and e.data["generation"] == generation]

    def text(self, message: str) -> str:
        """The plain text that this client shows for a message."""
        parts = _fold(self).get(message, {})
        return "".join(text for kind, text in parts.values() if kind == "text")


def _fold(history: History) -> dict[str, dict[int, tuple[str, str]]]:
    """Do what a client does: deltas grow the parts of a message, a snapshot replaces everything."""
    shown: dict[str, dict[int, tuple[str, str]]] = {}
    for event in history.events:
        data = event.data
        if event.type in {"snapshot", "reset"}:
            shown = {}
        if event.type == "snapshot":
            for message in data["messages"]:
                parts = enumerate(message["parts"])
                shown[message["id"]] = {index: (part["type"], part.get("text", "")) for index, part in parts}
        elif event.type in DELTA_PARTS:
            parts_of = shown.setdefault(data["message"], {})
            kind, text = parts_of.get(data["part"], (DELTA_PARTS[event.type], ""))
            assert kind == DELTA_PARTS[event.type], f"part {data['part']} is {kind}, but got a {event.type}"
            parts_of[data["part"]] = (kind, text + data["delta"])
    return shown


def position(event_id: str) -> tuple[str, str, int]:
    """Conversation, epoch and seq of an id, for the checker alone: ids are opaque to clients."""
    conversation, epoch, seq = event_id.split(".")
    assert len(seq) == 12, event_id
    return conversation, epoch, int(seq)


def check_ids(history: History) -> None:
    """Assert that ids strictly increase within an epoch, across every reconnect; a ``reset`` starts afresh."""
    last: tuple[str, str, int] | None = None
    for event in history.events:
        if event.type == "reset":
            last = None
        if not event.id:
            continue
        here = position(event.id)
        if last is not None:
            assert here[:2] == last[:2], f"{event.id} after {last}"
            assert here[2] > last[2], f"{event.id} ({event.type}) does not follow {last}"
        last = here


def check_terminal(history: History, generation: str, *, status: str = "completed") -> Received:
    """Assert exactly one ``message-end`` with this status and nothing of the generation after it; return it."""
    ours = [event for event in history.events if event.data.get("generation") == generation]
    ends = history.terminals(generation)
    assert len(ends) == 1, f"{len(ends)} terminal events: {history.types}"
    assert ends[0].data["status"] == status, ends[0].data
    assert ours[-1] is ends[0], f"{ours[-1].type} after message-end"
    return ends[0]


def checksum(text: str) -> str:
    """The checksum of ``message-end``."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def check(history: History, generation: str, stored: Mapping[str, Any], *, status: str = "completed") -> None:
    """Assert that the client saw exactly the ``stored`` message: order, one end, and the whole text.

    ``stored`` is the message as REST shows it after the end. A client that came when all was over has its terminal in
    the snapshot instead.
    """
    check_ids(history)
    assert stored["status"] == status, stored
    assert history.text(stored["id"]) == text_of(dict(stored))
    if not history.terminals(generation):
        snapshots = [event.data for event in history.events if event.type == "snapshot"]
        shown = {item["id"]: item["status"] for item in snapshots[-1]["generations"]} if snapshots else {}
        assert shown.get(generation) == status, f"no message-end: {history.types}"
        return
    end = check_terminal(history, generation, status=status).data
    assert end["checksum"] == checksum(text_of(dict(stored)))
    assert end["text_length"] == len(text_of(dict(stored)))
