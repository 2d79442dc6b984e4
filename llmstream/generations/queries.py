"""Small helpers that the steps of a generation's life share."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

from ..exceptions import NotFound
from ..log.rows import database_alias
from ..models import Conversation, Generation


def get_generation(pk: int) -> Generation:
    """Return a fresh generation with its message and prompt; raises NotFound."""
    found = Generation.objects.using(database_alias()).select_related("message__parent").filter(pk=pk).first()
    if found is None:
        raise NotFound
    return found


def active_generations(conversation: Conversation) -> list[Generation]:
    """Return the generations of a conversation that have not ended, oldest first."""
    generations = Generation.objects.using(database_alias())
    found = generations.filter(conversation=conversation, status__in=Generation.ACTIVE)
    return list(found.select_related("message__parent").order_by("pk"))


def after_commit(signal: Signal, sender: type[Any], **kwargs: Any) -> None:
    """Send a signal when the transaction has committed, if anybody listens."""
    if signal.has_listeners(sender):
        transaction.on_commit(partial(signal.send_robust, sender, **kwargs), using=database_alias())
