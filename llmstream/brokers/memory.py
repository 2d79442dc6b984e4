"""For one process: everything that needs to know already does. Other processes find out by polling."""

from __future__ import annotations

from ..log.rows import Batch
from .base import Broker, Ephemeral


class MemoryBroker(Broker):
    """Carries nothing."""

    def publish(self, batches: list[Batch]) -> None:
        """Do nothing."""

    def broadcast(self, conversation: int, message: Ephemeral) -> None:
        """Do nothing."""

    def follow(self, conversation: int) -> None:
        """Do nothing."""

    def unfollow(self, conversation: int) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Do nothing."""
