"""Whether those who hold a stream or a socket open may still have it.

What was permitted at the start ends: sessions expire, users sign out, change their password or are disabled, members
are removed. The engine asks about everything that is open together, every ``access_interval``.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.db import DatabaseError
from django.http import HttpRequest
from django.utils import timezone

from .database import run_db
from .permissions import ANONYMOUS_SESSION_KEY, Requester, get_policy

logger = logging.getLogger("llmstream")

#: What is open is looked up in portions of this size.
_PORTION = 500


@dataclass(frozen=True, slots=True)
class Access:
    """Who opened something, in the few bytes that it takes to look them up again.

    ``session_key`` is empty when the session is not what the sign-in rests on; ``fingerprint``, the same in every
    process, changes with the user's password and when the user is disabled. ``permissions`` are those by which a member
    of the staff reads what is not theirs; the policy is not asked about them then.
    """

    user: Any
    anonymous_id: str
    session_key: str
    fingerprint: int
    permissions: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: HttpRequest, requester: Requester, permissions: tuple[str, ...] = ()) -> Access:
        """Note who a request comes from. May read the session."""
        user = requester.user_or_none
        session = getattr(request, "session", None)
        rests_on_session = session is not None and (
            session.get(SESSION_KEY) == user._meta.pk.value_to_string(user)
            if user is not None
            else requester.anonymous_id and session.get(ANONYMOUS_SESSION_KEY) == requester.anonymous_id
        )
        return cls(
            user=None if user is None else user.pk,
            anonymous_id=requester.anonymous_id,
            session_key=(session.session_key or "") if session is not None and rests_on_session else "",
            fingerprint=0 if user is None else _fingerprint(user),
            permissions=permissions,
        )


class Holder(Protocol):
    """Something open that shows conversations."""

    access: Access

    def shown(self) -> Collection[int]:
        """Return the conversations that it shows, by primary key."""

    def review(self, requester: Requester | None, readable: Collection[int]) -> None:
        """Take the outcome: who the holder is, None when no longer signed in, and what they may still read."""


class Stream(Holder, Protocol):
    """What the engine looks after in an open stream or socket."""

    def tick(self, now: float) -> None:
        """Send a heartbeat when one is due, and give a stuck client up. ``now`` is the loop's time."""


class Outcome(NamedTuple):
    """Who is behind an access, None when no longer signed in, and what they may still read."""

    requester: Requester | None
    readable: Collection[int]


async def review(holders: Iterable[Holder]) -> None:
    """Look everybody up again, and hand each of ``holders`` the outcome; raises DatabaseError.

    Where the site's policy, session store or user model fails for somebody, only they are left for the next time.
    """
    everybody = list(holders)
    for first in range(0, len(everybody), _PORTION):
        portion = everybody[first : first + _PORTION]
        try:
            await _review(portion)
        except DatabaseError:
            raise
        except Exception:
            for holder in portion:
                await _review_alone(holder)


async def _review_alone(holder: Holder) -> None:
    try:
        await _review([holder])
    except DatabaseError:
        raise
    except Exception:
        logger.exception("Who holds a stream or a socket open could not be looked up; it stays open for now")


async def _review(portion: Sequence[Holder]) -> None:
    asked = [(holder.access, tuple(holder.shown())) for holder in portion]
    outcomes = await run_db(look_up, asked)
    for holder, (_, shown), outcome in zip(portion, asked, outcomes, strict=True):
        # What was opened while we asked has just been permitted.
        opened = set(holder.shown()).difference(shown)
        holder.review(outcome.requester, {*outcome.readable, *opened})


def look_up(asked: Sequence[tuple[Access, tuple[int, ...]]]) -> list[Outcome]:
    """Look many up at once, each with the conversations that it is about. Synchronous ORM work of a few queries."""
    who = _requesters({access for access, _ in asked})
    conversations: dict[Requester, set[int]] = {}
    for access, shown in asked:
        if (requester := who.get(access)) is not None and not access.permissions:
            conversations.setdefault(requester, set()).update(shown)
    readable = get_policy().readable(conversations)
    return [_outcome(who.get(access), access, shown, readable) for access, shown in asked]


def _outcome(
    requester: Requester | None,
    access: Access,
    shown: tuple[int, ...],
    readable: Mapping[Requester, Collection[int]],
) -> Outcome:
    if requester is None:
        return Outcome(None, ())
    if access.permissions:
        allowed = requester.user.is_staff and requester.user.has_perms(access.permissions)
        return Outcome(requester, shown if allowed else ())
    return Outcome(requester, readable[requester])


def _requesters(accesses: Collection[Access]) -> dict[Access, Requester]:
    """Return who is behind each access; those that are no longer signed in are left out."""
    sessions = _living({access.session_key for access in accesses} - {""})
    users = get_user_model()._default_manager.in_bulk({access.user for access in accesses} - {None})
    found = {}
    for access in accesses:
        if access.session_key and access.session_key not in sessions:
            continue
        if access.user is None:
            found[access] = Requester(AnonymousUser(), access.anonymous_id)
        elif (user := users.get(access.user)) is not None and _fingerprint(user) == access.fingerprint:
            found[access] = Requester(user, access.anonymous_id)
    return found


def _living(keys: Collection[str]) -> set[str]:
    """Return those sessions that exist and have not expired."""
    if not keys:
        return set()
    store = import_module(django_settings.SESSION_ENGINE).SessionStore
    if issubclass(store, SessionStore):
        rows = store.get_model_class().objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
        return set(rows.values_list("session_key", flat=True))
    # Other stores have no way to ask for many at once.
    return {key for key in keys if store(key).load()}


def _fingerprint(user: Any) -> int:
    known = f"{getattr(user, 'is_active', True)} {user.get_session_auth_hash()}"
    return int.from_bytes(sha256(known.encode()).digest()[:8])
