"""Somebody who visits the site for the doctor: a session and a conversation, gone when the visit is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.cookies import SimpleCookie
from importlib import import_module
from time import monotonic
from typing import Any, Final

from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.middleware.csrf import CSRF_SECRET_LENGTH, CSRF_SESSION_KEY
from django.utils.crypto import get_random_string

from ..events import DATA, EventId
from ..generations.endings import delete_conversation
from ..log.rows import database_alias
from ..log.transaction import locked
from ..models import Conversation

#: A session that nobody could remove any more ends by itself.
_SESSION_LIFE: Final = timedelta(hours=1)
#: Title of the conversation, and name of the events in it.
TITLE: Final = "llmstream_doctor"


@dataclass(frozen=True, slots=True)
class Written:
    """An event that the visitor has stored, and when, by the clock of ``time.monotonic``."""

    event_id: str
    at: float


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in user with a conversation that nobody else knows of."""

    cookie: str
    csrf_token: str
    conversation: Conversation

    def write(self) -> Written:
        """Store an event; servers find it in the database."""
        with locked(self.conversation.pk) as log:
            seq = log.append({"type": DATA, "name": TITLE, "data": {"number": log.next_seq}})
            event_id = str(EventId(log.conversation.public_id, log.conversation.epoch, seq))
        return Written(event_id, monotonic())


class NoSuchVisitor(Exception):
    """Nobody can be signed in so."""


@contextmanager
def visit(username: str, cookie: str) -> Iterator[Visitor]:
    """Sign a user in for as long as the block, by ``cookie`` if given; raises NoSuchVisitor.

    The conversation and a session made for this are removed, however the block ends.
    """
    user = _user(username, cookie)
    with ExitStack() as made:
        token = get_random_string(CSRF_SECRET_LENGTH)
        if not cookie:
            session = _sign_in(user, token)
            made.callback(session.delete)
            cookie = f"{django_settings.SESSION_COOKIE_NAME}={session.session_key}"
        conversation = Conversation.objects.using(database_alias()).create(owner=user, title=TITLE)
        made.callback(delete_conversation, conversation)
        # The last of two cookies with one name counts.
        yield Visitor(f"{cookie}; {django_settings.CSRF_COOKIE_NAME}={token}", token, conversation)


def _user(username: str, cookie: str) -> Any:
    users = get_user_model()._default_manager
    if username:
        found = users.filter(**{users.model.USERNAME_FIELD: username}).first()
    else:
        morsel = SimpleCookie(cookie).get(django_settings.SESSION_COOKIE_NAME)
        pk = _store()(morsel.value).get(SESSION_KEY) if morsel else None
        found = users.filter(pk=users.model._meta.pk.to_python(pk)).first() if pk else None
    if found is None:
        raise NoSuchVisitor(f"There is no user {username!r}." if username else "The cookie is no session of a user.")
    if not found.is_active:
        raise NoSuchVisitor(f"{found.get_username()} may not sign in.")
    return found


def _store() -> Any:
    return import_module(django_settings.SESSION_ENGINE).SessionStore


def _sign_in(user: Any, csrf_token: str) -> Any:
    session = _store()()
    session[CSRF_SESSION_KEY] = csrf_token
    session[SESSION_KEY] = user._meta.pk.value_to_string(user)
    session[BACKEND_SESSION_KEY] = django_settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.set_expiry(int(_SESSION_LIFE.total_seconds()))
    session.save()
    return session
