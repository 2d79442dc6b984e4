"""``python -m tests.live.sites.prepare``: an empty database becomes that of a site with users who are signed in.

Prints ``{"<user>": {"sessionid": ..., "csrftoken": ...}}``.
"""

from __future__ import annotations

import json
import sys

import django


def main(names: list[str]) -> None:
    """Migrate, and make a user and a session for each name."""
    django.setup()
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model  # noqa: PLC0415
    from django.contrib.sessions.backends.db import SessionStore  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415
    from django.middleware.csrf import get_token  # noqa: PLC0415
    from django.test import RequestFactory  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    accounts = {}
    for name in names:
        user = get_user_model().objects.create_user(name)
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        request = RequestFactory().get("/")
        get_token(request)
        accounts[name] = {"sessionid": session.session_key, "csrftoken": request.META["CSRF_COOKIE"]}
    print(json.dumps(accounts))


if __name__ == "__main__":
    main(sys.argv[1:])
