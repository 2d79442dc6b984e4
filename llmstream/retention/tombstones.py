"""What stands where something was removed. All of it happens under the conversation's row lock.

The events change with the rows, and the epoch moves on: whoever has seen what was said is told to begin anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import F, Q, QuerySet

from ..answer import plain_text
from ..events import MESSAGE_CREATED, STEER, STEER_ACCEPTED, TOOL_APPROVAL_RESPONSE
from ..log.rows import database_alias
from ..log.transaction import LogTransaction
from ..models import Attachment, Conversation, Event, Feedback, Generation, Message, Rendering, ToolCall

#: The text of a message that was removed.
TOMBSTONE = "[removed]"

#: Events that name a person.
NAMING = (MESSAGE_CREATED, STEER, STEER_ACCEPTED, TOOL_APPROVAL_RESPONSE)
_PARTS = [{"type": "text", "text": TOMBSTONE}]


def strip(log: LogTransaction) -> None:
    """Remove what was said in a conversation in which nothing runs. Messages stay as tombstones, figures untouched."""
    alias, pk = database_alias(), log.conversation.pk
    Event.objects.using(alias).filter(conversation=pk).delete()
    Message.objects.using(alias).filter(conversation=pk).update(parts=_PARTS, text=TOMBSTONE)
    Rendering.objects.using(alias).filter(message__conversation=pk).delete()
    Attachment.objects.using(alias).filter(conversation=pk).delete()
    ToolCall.objects.using(alias).filter(generation__conversation=pk).update(input=None, output=None)
    Feedback.objects.using(alias).filter(message__conversation=pk).update(comment="")
    Generation.objects.using(alias).filter(conversation=pk).update(provider_response_id="", provider_cursor="")
    Conversation.objects.using(alias).filter(pk=pk).update(title="")
    move_epoch(log)


def redact(log: LogTransaction, user: Any) -> int:
    """Remove what a user has said in a conversation in which nothing runs; return the number of messages."""
    person, pk = str(user), log.conversation.pk
    events = Event.objects.using(database_alias()).filter(conversation=pk)
    for event in _about(events, person):
        events.filter(pk=event.pk).update(data=_redacted_event(event.data))
    own = Message.objects.using(database_alias()).filter(conversation=pk, author=user)
    removed = own.update(parts=_PARTS, text=TOMBSTONE, author=None, client_id="")
    calls = ToolCall.objects.using(database_alias()).filter(generation__conversation=pk, decided_by=user)
    for message in _mentioning(pk, user):
        parts = [_redacted_part(part, person) for part in message.parts]
        Message.objects.using(database_alias()).filter(pk=message.pk).update(parts=parts, text=plain_text(parts))
    calls.update(decided_by=None)
    Rendering.objects.using(database_alias()).filter(message__conversation=pk).delete()
    _withdraw_files(pk, user)
    move_epoch(log)
    return removed


def _withdraw_files(conversation: int, user: Any) -> None:
    """Remove a user's files, and their names from the messages of others that edited the user's."""
    alias = database_alias()
    files = Attachment.objects.using(alias).filter(conversation=conversation, uploader=user)
    if not (ids := set(files.values_list("public_id", flat=True))):
        return
    said = Message.objects.using(alias).filter(conversation=conversation, role=Message.Role.USER).only("parts")
    for message in said:
        kept = [part for part in message.parts if part.get("id") not in ids]
        if len(kept) < len(message.parts):
            Message.objects.using(alias).filter(pk=message.pk).update(parts=kept or _PARTS)
    created = Event.objects.using(alias).filter(conversation=conversation, type=MESSAGE_CREATED)
    for event in created.filter(data__message__role=Message.Role.USER):
        told = event.data["message"]
        kept = [part for part in told["parts"] if part.get("id") not in ids]
        if len(kept) < len(told["parts"]):
            data = {**event.data, "message": {**told, "parts": kept or _PARTS}}
            Event.objects.using(alias).filter(pk=event.pk).update(data=data)
    files.delete()


def move_epoch(log: LogTransaction) -> None:
    """Say that the history is no longer the one that clients saw."""
    log.conversation.epoch += 1
    found = Conversation.objects.using(database_alias()).filter(pk=log.conversation.pk)
    found.update(epoch=F("epoch") + 1)


def _about(events: QuerySet[Event], person: str) -> Iterable[Event]:
    named = Q(data__message__author__id=person) | Q(data__author__id=person) | Q(data__by__id=person)
    return events.filter(named, type__in=NAMING).order_by("seq")


def _mentioning(conversation: int, user: Any) -> Iterable[Message]:
    """The answers that were steered, or in which the user has decided on a tool call."""
    answers = Message.objects.using(database_alias()).filter(conversation=conversation)
    named = Q(generations__steers__gt=0) | Q(generations__tool_calls__decided_by=user)
    return answers.filter(named).distinct().only("parts")


def _redacted_event(event: Mapping[str, Any]) -> dict[str, Any]:
    if event["type"] == MESSAGE_CREATED:
        return {**event, "message": {**event["message"], "parts": _PARTS, "author": None}}
    if event["type"] == TOOL_APPROVAL_RESPONSE:
        return {**event, "by": None}
    kept = {name: value for name, value in event.items() if name != "client_id"}
    return {**kept, "content": TOMBSTONE, "author": None}


def _redacted_part(part: dict[str, Any], person: str) -> dict[str, Any]:
    if part["type"] == "steer" and _is(part["author"], person):
        return {**part, "content": TOMBSTONE, "author": None}
    if part["type"] == "tool" and part["approval"] and _is(part["approval"]["by"], person):
        return {**part, "approval": {**part["approval"], "by": None}}
    return part


def _is(who: Mapping[str, Any] | None, person: str) -> bool:
    return who is not None and who["id"] == person
