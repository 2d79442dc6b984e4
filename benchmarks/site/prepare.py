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

from django.core.management import call_command  # noqa: E402

from benchmarks.visitors import sign_in  # noqa: E402
from llmstream.models import Conversation  # noqa: E402


def fill(count: int) -> tuple[list[Conversation], dict[str, Any]]:
    """Fill the database; return the conversations and what a request needs."""
    call_command("migrate", verbosity=0)
    user, access = sign_in()
    made = Conversation.objects.bulk_create(
        Conversation(owner=user, title=f"Conversation {number}") for number in range(count)
    )
    return made, {**access, "conversations": [conversation.public_id for conversation in made]}


if __name__ == "__main__":
    print(json.dumps(fill(int(sys.argv[1]))[1]))
