"""Why a process follows a conversation: readers, a generation at work here, a prompt that waits here."""

from __future__ import annotations

from collections import Counter

from .base import Broker


class Interests:
    """Follows each conversation once, for as long as there is any reason to."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._reasons: Counter[int] = Counter()

    def add(self, conversation: int) -> None:
        """Add a reason; every call needs its ``remove``."""
        self._reasons[conversation] += 1
        if self._reasons[conversation] == 1:
            self._broker.follow(conversation)

    def remove(self, conversation: int) -> None:
        """Take a reason away; with the last one the conversation is no longer followed."""
        self._reasons[conversation] -= 1
        if not self._reasons[conversation]:
            del self._reasons[conversation]
            self._broker.unfollow(conversation)
