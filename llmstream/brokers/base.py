"""What carries news of commits to other processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from ..log.rows import Batch

#: Takes batches that another process committed. Call it on the engine's event loop.
Receive: TypeAlias = Callable[[list[Batch]], None]


class Broker(ABC):
    """Carries hints: a batch may arrive late, twice, out of order or never, and no reader misses an event for it.

    One instance per engine, used on its event loop only.
    """

    def __init__(self, receive: Receive) -> None:
        self.receive = receive

    @abstractmethod
    def publish(self, batches: list[Batch]) -> None:
        """Tell the other processes what this one has committed. Must not block and must not raise."""
