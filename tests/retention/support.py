"""Conversations of long ago, and the commands."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.utils import timezone

from llmstream.generations.prompts import Sent
from llmstream.models import (
    Conversation,
    Generation,
)
from tests.admin.staff import finish, say
from tests.support import (
    ask,
    conversation,
    stored,
    types,
    user,
)


def run(command: str, *arguments: str) -> str:
    """Run a command; return what it printed."""
    out = StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


def aged(sent: Sent, days: float) -> Sent:
    """Let a conversation look as if it was last used so long ago."""
    then = timezone.now() - timedelta(days=days)
    Conversation.objects.filter(pk=sent.conversation.pk).update(updated_at=then)
    Generation.objects.filter(conversation=sent.conversation, end_seq__isnull=False).update(ended_at=then)
    return sent


def old(days: float = 40, **fields: Any) -> Sent:
    """Return a conversation of three pieces of text that was last used so long ago."""
    sent = ask(conversation(owner=user("ann"), **fields), author=user("ann"))
    say(sent.generation, "One ", "two ", "three")
    return aged(finish(sent), days)


def exists(sent: Sent) -> bool:
    """Whether the conversation is there."""
    return Conversation.objects.filter(pk=sent.conversation.pk).exists()


def deltas(sent: Sent) -> int:
    """How many rows of text there are."""
    return types(stored(sent.conversation)).count("text-delta")
