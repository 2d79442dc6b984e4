"""Make the site's database for rooms: each conversation has a member of its own, and two rooms have all these members.

Prints what a request needs to use them, as JSON.
"""

from __future__ import annotations

import json
import sys

from .prepare import fill  # sets Django up

from django.contrib.auth.models import User  # isort: skip
from django.contrib.sessions.models import Session  # isort: skip

from benchmarks.visitors import session_of
from llmstream.models import Conversation, Membership


def main() -> None:
    """Fill the database."""
    count = int(sys.argv[1])
    made, access = fill(count)
    rooms = Conversation.objects.bulk_create(
        Conversation(owner=made[0].owner, title=title) for title in ("Warm-up", "Room")
    )
    members = User.objects.bulk_create(User(username=f"viewer {number}", password="!") for number in range(count))
    seats = Session.objects.bulk_create(session_of(member) for member in members)
    Membership.objects.bulk_create(
        Membership(conversation=conversation, user=member)
        for own, member in zip(made, members, strict=True)
        for conversation in (own, *rooms)
    )
    seated = {
        "seats": [seat.session_key for seat in seats],
        "rooms": [room.public_id for room in rooms],
    }
    print(json.dumps({**access, **seated}))


if __name__ == "__main__":
    main()
