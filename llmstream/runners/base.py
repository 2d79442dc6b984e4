"""Where generations run."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, ClassVar, Protocol


class Host(Protocol):
    """What a runner may use of the engine that it belongs to."""

    loop: asyncio.AbstractEventLoop

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task in a clean context, keep it alive, and log its failure."""


class Runner(ABC):
    """Decides where generations run. One instance per engine, used on its event loop only."""

    #: Whether the process that takes a prompt in runs its generation, too. If not, the prompt is left queued, and
    #: ``hand_off`` tells those who do.
    here: ClassVar[bool]
    #: Whether it works over the site's channel layer, so that there must be one.
    needs_channel_layer: ClassVar[bool] = False

    def __init__(self, host: Host) -> None:
        self.host = host

    @abstractmethod
    def hand_off(self, conversation: int, *, again: bool = False) -> None:
        """Tell workers that a committed prompt waits for its turn; neither blocks nor raises.

        It may be lost: ``again`` says that the prompt was handed off before and still waits, which the engine repeats
        every ``POLL_INTERVAL`` or ``SWEEP_INTERVAL``. Workers may be told twice.
        """
