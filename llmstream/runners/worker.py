"""Generations in worker processes: ``manage.py runworker llmstream-generations``.

Web processes hand prompts off over the channel layer; the site mounts ``GenerationWorker`` under ``CHANNEL`` in a
``ChannelNameRouter``.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType
from typing import Any, ClassVar

from channels.consumer import AsyncConsumer

from ..brokers.layer import Outage, channel_layer, send
from ..conf import get_settings
from ..engine import get_engine
from .base import Host, Runner

#: The channel that workers listen on.
CHANNEL = "llmstream-generations"
#: Conversations that may wait to be handed off; beyond it the oldest are left to the next look.
_WAITING = 10_000


class WorkerRunner(Runner):
    """Hands prompts off to ``runworker`` processes."""

    here: ClassVar[bool] = False
    needs_channel_layer: ClassVar[bool] = True

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._layer = channel_layer()
        self._waiting: dict[int, None] = {}
        self._sending: asyncio.Task[None] | None = None
        self._outage = Outage("Hand-off")

    def hand_off(self, conversation: int, *, again: bool = False) -> None:
        """Tell every worker; the first one to claim the generation has it."""
        self._waiting[conversation] = None
        if len(self._waiting) > _WAITING:
            del self._waiting[next(iter(self._waiting))]
        if self._sending is None or self._sending.done():
            self._sending = self.host.spawn(self._send())

    async def _send(self) -> None:
        while self._waiting:
            message = {"type": "generations.waiting", "conversations": list(self._waiting)}
            self._waiting.clear()
            try:
                await send(self._layer, CHANNEL, message)
            except Exception as error:  # what was in it is handed off again
                await self._outage.pause(error)
            else:
                self._outage.over()


class GenerationWorker(AsyncConsumer):  # type: ignore[misc]  # Channels has no types
    """Takes up what web processes hand off, up to ``MAX_GENERATIONS`` at once.

    On SIGTERM it hands its generations over before the process goes.
    """

    @property
    def channel_layer_alias(self) -> str:
        """The layer for the consumer's own channel."""
        return get_settings().channel_layer

    async def generations_waiting(self, message: dict[str, Any]) -> None:
        """Claim what there is room for."""
        engine = get_engine()
        if not engine.turns.working:
            engine.turns.work()
            _end_by_hand_over()
        engine.turns.take_up(message["conversations"])


def _end_by_hand_over() -> None:
    """Let the engine's place before the handler of SIGTERM be one before the default."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def _end(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)
