"""Branches of a conversation's message tree: what leads to a message, and which branch is on show."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from .events import BRANCH_CHOSEN, MESSAGE_CREATED, EventId
from .exceptions import InvalidRequest
from .log.rows import database_alias
from .log.transaction import locked
from .models import Conversation, Event, Message

T = TypeVar("T")


class Chosen(NamedTuple):
    """The branch on show: the public id of the message that ends it, and the position from which on it is."""

    leaf: str
    last_event_id: EventId


def path_to(last: T | None, parent: Callable[[T], T | None]) -> list[T]:
    """Return what leads to ``last`` and itself, the first one first."""
    path: list[T] = []
    while last is not None:
        path.append(last)
        last = parent(last)
    return path[::-1]


def choose(conversation: int, message: str) -> Chosen:
    """Show the branch that a message is on, to everybody: through it, and on to the newest message under it.

    Raises InvalidRequest when the conversation has no such message, and NotFound.
    """
    with locked(conversation) as log:
        found = Message.objects.using(database_alias()).filter(conversation=log.conversation, public_id=message).first()
        if found is None:
            raise InvalidRequest("There is no such message in this conversation.")
        seq, leaf = _newest_under(found)
        if seq != log.conversation.leaf:
            log.conversation.leaf = seq
            log.append({"type": BRANCH_CHOSEN, "leaf": leaf})
        return Chosen(leaf, log.conversation.last_event_id)


def on_show(conversation: Conversation) -> set[int]:
    """Return the keys of the messages on the branch on show."""
    messages = Message.objects.using(database_alias()).filter(conversation=conversation)
    known = messages.filter(first_seq__lte=conversation.leaf or conversation.head).order_by("-first_seq")
    parents = dict(known.values_list("pk", "parent"))
    return set(path_to(next(iter(parents), None), parents.get))


def leaf_as_of(conversation: Conversation, seq: int) -> int:
    """Return the ``first_seq`` of the message that ended the branch on show at a position; 0 for the newest one."""
    if seq >= conversation.head:
        return conversation.leaf
    events = Event.objects.filter(conversation=conversation, seq__lte=seq, type__in=(MESSAGE_CREATED, BRANCH_CHOSEN))
    last = events.order_by("-seq").first()
    if last is None or last.type == MESSAGE_CREATED:
        return last.seq if last else 0
    chosen = Message.objects.filter(conversation=conversation, public_id=last.data["leaf"])
    return chosen.values_list("first_seq", flat=True).first() or 0


def _newest_under(message: Message) -> tuple[int, str]:
    """Return ``first_seq`` and public id of the newest message in the tree that a message is the root of."""
    newest, under = (message.first_seq, message.public_id), {message.pk}
    later = Message.objects.using(database_alias()).filter(
        conversation=message.conversation_id, first_seq__gt=message.first_seq
    )
    for pk, parent, seq, leaf in later.order_by("first_seq").values_list("pk", "parent", "first_seq", "public_id"):
        if parent in under:
            under.add(pk)
            newest = seq, leaf
    return newest
