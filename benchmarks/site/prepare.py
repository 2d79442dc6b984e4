"""Make the site's database: tables, one user with a session, and as many conversations as the argument says.

Prints what a request needs to use them, as JSON.
"""

from __future__ import annotations

import json
import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.site.settings")
django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.middleware.csrf import _get_new_csrf_string  # noqa: E402

from llmstream.models import Conversation  # noqa: E402


def main() -> None:
    """Fill the database."""
    call_command("migrate", verbosity=0)
    user = get_user_model().objects.create_user("bench")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    made = Conversation.objects.bulk_create(
        Conversation(owner=user, title=f"Conversation {number}") for number in range(int(sys.argv[1]))
    )
    access = {
        "session": session.session_key,
        "csrf": _get_new_csrf_string(),
        "conversations": [conversation.public_id for conversation in made],
    }
    print(json.dumps(access))


if __name__ == "__main__":
    main()
