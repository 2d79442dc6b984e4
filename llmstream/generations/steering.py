"""Steering: a person's message to a generation at work, which its model sees at its next call."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db.models import F

from ..conf import get_settings
from ..events import STEER, WireEvent, new_public_id
from ..exceptions import GenerationNotSteerable, IdempotencyConflict, TooManySteers
from ..log.rows import database_alias
from ..log.transaction import locked
from ..models import Event, Generation
from ..snapshot import user_object
from .queries import get_generation

Status = Generation.Status


class Steered(NamedTuple):
    """The generation, and the id under which ``steer-accepted`` will name the message."""

    generation: Generation
    steer: str


def steer(generation: int, content: str, author: Any, client_id: str = "") -> Steered:
    """Store a message for a generation that has begun; a repeated ``client_id`` returns the first outcome.

    Raises GenerationNotSteerable, TooManySteers or IdempotencyConflict.
    """
    by = user_object(author) if author else None
    with locked(get_generation(generation).conversation_id) as log:
        found = get_generation(generation)
        if client_id and (first := _first_outcome(found, client_id)):
            if (first["content"], first["author"]) != (content, by):
                raise IdempotencyConflict
            return Steered(found, first["steer"])
        if found.status not in Generation.ACTIVE or found.started_at is None:
            raise GenerationNotSteerable
        if found.steers >= get_settings().max_steers:
            raise TooManySteers
        event: WireEvent = {
            "type": STEER,
            "message": found.message.public_id,
            "generation": found.public_id,
            "steer": new_public_id(),
            "content": content,
            "author": by,
        }
        if client_id:
            event["client_id"] = client_id
        log.append(event, found.pk)
        Generation.objects.using(database_alias()).filter(pk=found.pk).update(steers=F("steers") + 1)
        return Steered(found, event["steer"])


def _first_outcome(generation: Generation, client_id: str) -> WireEvent | None:
    earlier = read_steers(generation.conversation_id, generation.pk, generation.first_seq)
    return next((event for _, event in earlier if event.get("client_id") == client_id), None)


def read_steers(conversation: int, generation: int, after: int) -> list[tuple[int, WireEvent]]:
    """Return the steering messages of a generation that are stored after a position, with theirs."""
    events = Event.objects.using(database_alias()).filter(
        conversation=conversation, seq__gt=after, generation=generation, type=STEER
    )
    return list(events.order_by("seq").values_list("seq", "data"))
