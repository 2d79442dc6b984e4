"""Somebody who is signed in to a Django site: import it once that is set up."""

from __future__ import annotations

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.middleware.csrf import _get_new_csrf_string


def session_of(user: User) -> Session:
    """The session of a user who has signed in; not saved."""
    session = SessionStore().create_model_instance(
        {
            SESSION_KEY: str(user.pk),
            BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
            HASH_SESSION_KEY: user.get_session_auth_hash(),
        }
    )
    assert isinstance(session, Session)
    return session


def sign_in() -> tuple[User, dict[str, str]]:
    """Make a user who is signed in; return also what a request of theirs needs."""
    user = get_user_model().objects.create_user("bench")
    assert isinstance(user, User)
    session = session_of(user)
    session.save()
    return user, {"session": session.session_key, "csrf": _get_new_csrf_string()}
