"""Make the site's database: tables, one user with a session, and as many conversations as the argument says.

Each conversation has a member of its own, and two rooms have all of these members. Prints what a request needs to use
them, as JSON.
"""

from __future__ import annotations

import json
import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.site.settings")
django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.middleware.csrf import _get_new_csrf_string  # noqa: E402

from llmstream.models import Conversation, Membership  # noqa: E402


def main() -> None:
    """Fill the database."""
    call_command("migrate", verbosity=0)
    count = int(sys.argv[1])
    user = get_user_model().objects.create_user("bench")
    members = get_user_model().objects.bulk_create(
        User(username=f"viewer {number}", password="!") for number in range(count)
    )
    [session, *seats] = [session_of(person) for person in (user, *members)]
    Session.objects.bulk_create([session, *seats])
    made = Conversation.objects.bulk_create(
        Conversation(owner=user, title=f"Conversation {number}") for number in range(count)
    )
    rooms = Conversation.objects.bulk_create(Conversation(owner=user, title=title) for title in ("Warm-up", "Room"))
    Membership.objects.bulk_create(
        Membership(conversation=conversation, user=member)
        for own, member in zip(made, members, strict=True)
        for conversation in (own, *rooms)
    )
    access = {
        "session": session.session_key,
        "csrf": _get_new_csrf_string(),
        "conversations": [conversation.public_id for conversation in made],
        "seats": [seat.session_key for seat in seats],
        "rooms": [room.public_id for room in rooms],
    }
    print(json.dumps(access))


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
    main()
