"""Who is in a conversation, over all processes, as rows: right without any broker, and after a process was killed.

Every serving process is a ``Node`` that says time and again that it lives; the presences of one that does not are
passed over, and swept by any other. The clock is the database's. All functions are synchronous ORM work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from operator import attrgetter, or_
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from .conf import get_settings
from .database import write_transaction
from .log.rows import database_alias
from .models import Conversation, Node, Presence
from .snapshot import user_object

#: Beats that a node may miss before it is given up.
_BEATS = 3
_PAIRS_PER_QUERY = 100


@dataclass(frozen=True, slots=True)
class Seat:
    """One connection's place in a conversation."""

    conversation: int
    connection: str
    user: Any
    anonymous_id: str


@dataclass(frozen=True, slots=True)
class Attendees:
    """Who is in a conversation: what clients see of it, and the connections behind that."""

    members: Sequence[Mapping[str, Any]] = ()
    connections: frozenset[str] = frozenset()


def record(node: int | None, seats: Collection[Seat], entered: Collection[Seat], left: Collection[Seat]) -> int:
    """Keep a node alive and write what has changed on it; return the node.

    One that was given up in the meantime comes back as a new one, with all of its ``seats``.
    """
    with write_transaction(database_alias()):
        if node is None or not _beat(node):
            node = Node.objects.using(database_alias()).create(expires_at=_expiry()).pk
            entered = seats
        else:
            leave(node, left)
        enter(node, entered)
    return node


def enter(node: int, seats: Collection[Seat]) -> None:
    """Add presences; those of conversations and users that are gone are left out."""
    alias = database_alias()
    conversations = _existing(Conversation, {seat.conversation for seat in seats})
    users = _existing(get_user_model(), {seat.user for seat in seats} - {None}) | {None}
    rows = [
        Presence(
            conversation_id=seat.conversation,
            node_id=node,
            user_id=seat.user,
            anonymous_id=seat.anonymous_id,
            connection=seat.connection,
        )
        # In the order in which the log's writer locks conversations, which the rows' foreign keys lock, too.
        for seat in sorted(seats, key=attrgetter("conversation"))
        if seat.conversation in conversations and seat.user in users
    ]
    Presence.objects.using(alias).bulk_create(rows, ignore_conflicts=True)


def leave(node: int, seats: Collection[Seat]) -> None:
    """Remove presences."""
    presences = Presence.objects.using(database_alias()).filter(node=node)
    pairs = [Q(conversation=seat.conversation, connection=seat.connection) for seat in seats]
    for first in range(0, len(pairs), _PAIRS_PER_QUERY):
        presences.filter(reduce(or_, pairs[first : first + _PAIRS_PER_QUERY])).delete()


def who(conversations: Collection[int]) -> dict[int, Attendees]:
    """Return who is in each of these conversations, in the order in which they came."""
    present = Presence.objects.using(database_alias()).filter(
        conversation__in=conversations, node__expires_at__gt=Now()
    )
    rows: dict[int, list[_Row]] = {conversation: [] for conversation in conversations}
    columns = "conversation", "connection", "user", "anonymous_id"
    for conversation, connection, user, anonymous_id in present.order_by("pk").values_list(*columns):
        rows[conversation].append(_Row(connection, user, anonymous_id))
    users = (
        get_user_model()
        ._base_manager.using(database_alias())
        .in_bulk({row.user for found in rows.values() for row in found} - {None})
    )
    return {conversation: _attendees(found, users) for conversation, found in rows.items()}


def sweep() -> None:
    """Remove the nodes that were given up, with their presences."""
    if given_up().exists():
        with write_transaction(database_alias()):
            # Asked again under their locks: one of them may just have come back.
            gone = list(given_up().select_for_update().values_list("pk", flat=True))
            Node.objects.using(database_alias()).filter(pk__in=gone).delete()


def given_up() -> QuerySet[Node]:
    """Return the nodes that have not said that they live for too long."""
    return Node.objects.using(database_alias()).filter(expires_at__lt=Now())


class _Row(NamedTuple):
    connection: str
    user: Any
    anonymous_id: str


def _attendees(rows: Collection[_Row], users: Mapping[Any, Any]) -> Attendees:
    devices = Counter((row.user, row.anonymous_id) for row in rows)
    members = [
        {"user": user_object(users[user]) if user in users else None, "devices": count}
        for (user, _), count in devices.items()
    ]
    return Attendees(members, frozenset(row.connection for row in rows))


def _beat(node: int) -> bool:
    return bool(Node.objects.using(database_alias()).filter(pk=node).update(expires_at=_expiry()))


def _expiry() -> Any:
    return Now() + timedelta(seconds=_BEATS * get_settings().presence_interval)


def _existing(model: Any, pks: Collection[Any]) -> set[Any]:
    return set(model._base_manager.using(database_alias()).filter(pk__in=pks).values_list("pk", flat=True))
