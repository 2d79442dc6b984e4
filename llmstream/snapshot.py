"""The state of a conversation as of a position, and the objects that the wire and the pages show.

Every row knows the positions at which it appeared and was settled, so plain reads give the exact state as of any
``seq``: no lock, no isolation level, no race with what is being written.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Q

from .answer import Answer, is_waiting
from .branches import leaf_as_of
from .conf import get_settings
from .events import SNAPSHOT, EventId, WireEvent
from .exceptions import NotFound, message_of
from .log.reading import read_rows
from .log.rows import database_alias
from .models import Conversation, Generation, Message


class SnapshotTorn(Exception):
    """An answer of that position has ended and been compacted since: the state is that of the end, or none."""


def conversation_object(conversation: Conversation) -> dict[str, Any]:
    """Return what clients see of a conversation itself."""
    return {
        "id": conversation.public_id,
        "title": conversation.title,
        "model": conversation.model,
        "created_at": _timestamp(conversation.created_at),
        "updated_at": _timestamp(conversation.updated_at),
    }


def message_object(
    message: Message,
    *,
    parent: str | None,
    generation: str | None,
    parts: list[dict[str, Any]] | None = None,
    status: str | None = None,
) -> dict[str, Any]:
    """Return what clients see of a message; ``parts`` and ``status`` override the row as of another position."""
    return {
        "id": message.public_id,
        "role": message.role,
        "parts": message.parts if parts is None else parts,
        "parent": parent,
        "author": user_object(message.author) if message.author else None,
        "status": status or message.status,
        "generation": generation,
        "created_at": _timestamp(message.created_at),
    }


def generation_object(
    generation: Generation, *, message: str, status: str | None = None, answer: Answer | None = None
) -> dict[str, Any]:
    """Return what clients see of a generation; ``status`` and ``answer`` are those as of another position."""
    ended = status is None
    return {
        "id": generation.public_id,
        "message": message,
        "model": generation.model,
        "status": status or generation.status,
        "attempt": generation.attempt,
        "finish_reason": (generation.finish_reason or None) if ended else None,
        "error": error_object(generation.error_code) if ended else None,
        "phase": answer.phase if answer else None,
        "steers": list(answer.steers.values()) if answer else [],
        "left_out": answer.left_out if answer else generation.left_out,
    }


def user_object(user: Any) -> dict[str, str]:
    """Return what other people see of a user."""
    return {"id": str(user.pk), "name": user.get_username()}


def error_object(code: str) -> dict[str, str] | None:
    """Return what clients see of a failed generation's cause."""
    return {"code": code, "message": message_of(code)} if code else None


def state(conversation: Conversation, until: int | None = None, generation: Generation | None = None) -> dict[str, Any]:
    """Return the conversation as of ``until`` (its head when None): messages, generations and ``last_event_id``.

    ``leaf`` is the message that ends the branch on show. Running messages carry their text so far. With ``generation``
    only that one, its prompt and its answer are there. When there are more messages than the site's limit the newest
    are kept, and as many up to ``leaf``; ``truncated`` is true then. Raises SnapshotTorn for an ``until`` that has
    become unreadable, and NotFound when the conversation is gone.
    """
    try:
        return _state(conversation, conversation.head if until is None else min(until, conversation.head), generation)
    except SnapshotTorn:
        if until is not None:
            raise
    found = Conversation.objects.using(database_alias()).filter(pk=conversation.pk).first()
    if found is None:
        raise NotFound
    return state(found, None, generation)


def _state(conversation: Conversation, seq: int, generation: Generation | None) -> dict[str, Any]:
    leaf = 0 if generation else leaf_as_of(conversation, seq)
    messages, truncated = _kept(_messages(conversation, seq, generation), leaf)
    newest = messages[-1].public_id if messages else None
    generations = _generations(conversation, seq, messages)
    latest = {item.message_id: item for item in generations}
    answers = {
        message.pk: answer for message in messages if (answer := _answer_as_of(message, seq, latest.get(message.pk)))
    }
    return {
        **conversation_object(conversation),
        "messages": [
            _message_as_of(message, seq, latest.get(message.pk), answers.get(message.pk)) for message in messages
        ],
        "generations": [_generation_as_of(item, seq, answers.get(item.message_id)) for item in generations],
        "leaf": next((item.public_id for item in messages if item.first_seq == leaf), newest),
        "truncated": truncated,
        "last_event_id": str(EventId(conversation.public_id, conversation.epoch, seq)),
    }


def snapshot_event(conversation: Conversation, until: int, generation: Generation | None = None) -> WireEvent:
    """Return the state as the ``snapshot`` event."""
    current = state(conversation, until, generation)
    rest = {key: current.pop(key) for key in ("messages", "generations", "leaf", "truncated", "last_event_id")}
    return {"type": SNAPSHOT, "conversation": current, **rest}


def _kept(found: Any, leaf: int) -> tuple[list[Message], bool]:
    """Return the messages that a state shows, oldest first, and whether there are more."""
    limit = get_settings().max_messages
    messages = list(found[: limit + 1])
    truncated = len(messages) > limit
    del messages[limit:]
    if truncated and leaf:
        known = sum(message.first_seq <= leaf for message in messages)
        messages += found.filter(first_seq__lte=leaf, first_seq__lt=messages[-1].first_seq)[: limit - known]
    return messages[::-1], truncated


def _messages(conversation: Conversation, seq: int, generation: Generation | None) -> Any:
    messages = Message.objects.filter(conversation=conversation, first_seq__lte=seq)
    if generation is not None:
        answer = generation.message_id
        messages = messages.filter(Q(pk=answer) | Q(pk__in=Message.objects.filter(pk=answer).values("parent")))
    return messages.select_related("author", "parent").order_by("-first_seq")


def _generations(conversation: Conversation, seq: int, messages: Iterable[Message]) -> list[Generation]:
    answers = [message.pk for message in messages if message.role == Message.Role.ASSISTANT]
    found = Generation.objects.filter(conversation=conversation, message__in=answers, first_seq__lte=seq)
    return list(found.select_related("message").order_by("pk"))


def _answer_as_of(message: Message, seq: int, generation: Generation | None) -> Answer | None:
    """Return the answer that a message held which was not settled then, from the log; None for any other message."""
    # A message settled by the very next event has all its parts already.
    if generation is None or (message.end_seq is not None and message.end_seq <= seq + 1):
        return None
    rows = read_rows(message.conversation_id, message.first_seq, until=seq)
    if any(row.seq > seq and row.generation == generation.pk for row in rows):
        raise SnapshotTorn
    return Answer.from_rows(rows, generation.pk)


def _message_as_of(message: Message, seq: int, generation: Generation | None, answer: Answer | None) -> dict[str, Any]:
    settled = message.end_seq is not None and message.end_seq <= seq
    return message_object(
        message,
        parent=message.parent.public_id if message.parent else None,
        generation=generation.public_id if generation else None,
        parts=answer.parts if answer else None,
        status=None if settled else Message.Status.RUNNING,
    )


def _generation_as_of(generation: Generation, seq: int, answer: Answer | None) -> dict[str, Any]:
    ended_later = generation.end_seq is not None and generation.end_seq > seq
    status: str | None = None
    if ended_later or generation.status in Generation.ACTIVE:
        # Until its end the log tells: the row may be of a later position.
        status = Generation.Status.QUEUED
        if answer.started if answer else generation.started_at:
            parts = answer.parts if answer else generation.message.parts
            status = Generation.Status.WAITING if is_waiting(parts) else Generation.Status.RUNNING
    return generation_object(generation, message=generation.message.public_id, status=status, answer=answer)


def _timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
