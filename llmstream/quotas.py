"""How much who may use.

What a conversation uses is its owner's: a user's, or that of a visitor who is not signed in. Everybody's together is
the site's. ``LLMSTREAM["QUOTA"]`` names the class that sets the limits; the sums are the ledger's.
"""

from __future__ import annotations

from .conf import Limits, get_settings, instance_of
from .models import Conversation


class Quota:
    """Sets the limits of ``LLMSTREAM["LIMITS"]``.

    Its methods are synchronous and may use the ORM. They run in the transaction that stores the prompt, with the
    conversation's row locked, and again when a generation asks for more than it has reserved.
    """

    def limits(self, conversation: Conversation) -> Limits:
        """Return what the owner of a conversation may use. Visitors have the limits of users unless they have own."""
        limits = get_settings().limits
        user = limits.get("USER", Limits())
        return limits.get("VISITOR", user) if conversation.owner_id is None else user

    def site_limits(self) -> Limits:
        """Return what everybody together may use."""
        return get_settings().limits.get("SITE", Limits())

    def check(self, conversation: Conversation, model: str) -> None:
        """Raise an LLMStreamError, such as BudgetExceeded, to refuse a prompt for a reason of the site's own."""


def account_of(conversation: Conversation) -> str:
    """Return the key under which a conversation's use is counted; empty for one that is nobody's."""
    if conversation.owner_id is not None:
        return f"user:{conversation.owner_id}"
    return f"visitor:{conversation.anonymous_id}" if conversation.anonymous_id else ""


def get_quota() -> Quota:
    """Return the site's quota."""
    instance: Quota = instance_of(get_settings().quota)
    return instance
