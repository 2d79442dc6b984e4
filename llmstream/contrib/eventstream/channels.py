"""The names of our channels, printed and parsed in one place."""

from __future__ import annotations

import re
from typing import Any, Final

from ...events import PUBLIC_ID_PATTERN

_USER: Final = "llmstream-user-"
_CONVERSATION: Final = "llmstream-conversation-"
_CONVERSATION_NAME: Final = re.compile(rf"{_CONVERSATION}({PUBLIC_ID_PATTERN})", re.ASCII)
#: Everything on the site, for members of the staff.
OPERATIONS: Final = "llmstream-operations"


def user_channel(user: Any) -> str:
    """Return the channel of all conversations of one user, who alone may read it."""
    return f"{_USER}{user.pk}"


def conversation_channel(conversation: str) -> str:
    """Return the channel of one conversation, by its public id, for those who may read it."""
    return f"{_CONVERSATION}{conversation}"


def conversation_of(channel: str) -> str | None:
    """Return the public id of the conversation that a channel is about, or None."""
    match = _CONVERSATION_NAME.fullmatch(channel)
    return match[1] if match else None


def is_ours(channel: str) -> bool:
    """Whether a channel is one of those that this app decides about."""
    return channel.startswith("llmstream-")
