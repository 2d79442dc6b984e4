"""Make the site's database: tables, one user with a session, and as many conversations as the argument says.

Prints what a request needs to use them, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.site.settings")
django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.middleware.csrf import _get_new_csrf_string  # noqa: E402

from llmstream.models import Conversation  # noqa: E402


def fill(count: int) -> tuple[list[Conversation], dict[str, Any]]:
    """Fill the database; return the conversations and what a request needs."""
    call_command("migrate", verbosity=0)
    user = get_user_model().objects.create_user("bench")
    session = session_of(user)
    session.save()
    made = Conversation.objects.bulk_create(
        Conversation(owner=user, title=f"Conversation {number}") for number in range(count)
    )
    access = {
        "session": session.session_key,
        "csrf": _get_new_csrf_string(),
        "conversations": [conversation.public_id for conversation in made],
    }
    return made, access


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


if __name__ == "__main__":
    print(json.dumps(fill(int(sys.argv[1]))[1]))
