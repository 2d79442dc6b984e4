"""What carries news between processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

from ..log.rows import Batch

#: What is shown at once and stored nowhere, such as who is typing: a JSON object with a ``type``.
Ephemeral: TypeAlias = dict[str, Any]


class Head(NamedTuple):
    """How far a conversation's log goes, without its rows, and the generations that have ended on the way there."""

    conversation: int
    epoch: int
    seq: int
    ended: Sequence[int] = ()


class Receiver(Protocol):
    """What a broker hands news to, on the engine's event loop."""

    def receive(self, batches: list[Batch]) -> None:
        """Take batches that were committed, here or by another process."""

    def announce(self, head: Head) -> None:
        """Learn that another process has committed more than travels in a hint."""

    def hear(self, conversation: int, message: Ephemeral) -> None:
        """Take an ephemeral message to those who have a conversation open."""


class Broker(ABC):
    """Carries hints: a batch may arrive late, twice, out of order or never, and no reader misses an event for it.

    One instance per engine, used on its event loop only. A process gets the news of the conversations that it follows.
    No method blocks or raises.
    """

    #: Whether it works over the site's channel layer, so that there must be one.
    needs_channel_layer: ClassVar[bool] = False

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    @abstractmethod
    def publish(self, batches: list[Batch]) -> None:
        """Tell the other processes what this one has committed."""

    @abstractmethod
    def broadcast(self, conversation: int, message: Ephemeral) -> None:
        """Tell the other processes something that is not stored."""

    @abstractmethod
    def follow(self, conversation: int) -> None:
        """Begin to receive a conversation's news."""

    @abstractmethod
    def unfollow(self, conversation: int) -> None:
        """Receive no more of it."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of what the broker holds; nothing is received afterwards."""
