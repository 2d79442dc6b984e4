"""Finding what a request names. What a requester may not see does not exist for them."""

from __future__ import annotations

import re

from .events import PUBLIC_ID_PATTERN
from .exceptions import NotFound
from .models import Conversation, Generation, Message
from .permissions import Requester, get_policy

# Compiled by hand: it begins every request.
_CONVERSATION = f"SELECT * FROM {Conversation._meta.db_table} WHERE public_id = %s"  # noqa: S608
_PUBLIC_ID = re.compile(PUBLIC_ID_PATTERN, re.ASCII)


def find_conversation(requester: Requester, public_id: str) -> Conversation:
    """Return a conversation that the requester may read; raises NotFound."""
    found = next(iter(Conversation.objects.raw(_CONVERSATION, [_checked(public_id)])), None)
    if found is None or not get_policy().can_read(requester, found):
        raise NotFound
    return found


def find_generation(requester: Requester, public_id: str) -> Generation:
    """Return a generation of a conversation that the requester may read, with both rows at hand; raises NotFound."""
    generations = Generation.objects.select_related("conversation", "message")
    found = generations.filter(public_id=_checked(public_id)).first()
    if found is None or not get_policy().can_read(requester, found.conversation):
        raise NotFound
    return found


def find_message(requester: Requester, public_id: str) -> Message:
    """Return a message of a conversation that the requester may read, with that row at hand; raises NotFound."""
    found = Message.objects.select_related("conversation").filter(public_id=_checked(public_id)).first()
    if found is None or not get_policy().can_read(requester, found.conversation):
        raise NotFound
    return found


def _checked(public_id: str) -> str:
    if not _PUBLIC_ID.fullmatch(public_id):
        raise NotFound
    return public_id
