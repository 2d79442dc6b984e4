"""SIGTERM: what a process runs is handed over before its server hears that it is to end.

Servers end when their connections have ended, and leave other tasks no time: uvicorn then raises the signal again.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any, TypeAlias

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

#: Seconds that the server may be held up.
_HELD_UP = 5.0


class Departure:
    """Runs ``work`` on a loop at the first SIGTERM, then passes the signal on; a second one is passed on at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Work) -> None:
        self._loop = loop
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._passing_on: Callable[[int, FrameType | None], Any] | None = None

    def await_signal(self) -> None:
        """Take the place of the server's handler, if this is the thread for that and there is one."""
        handler = signal.getsignal(signal.SIGTERM)
        if self._passing_on is None and threading.current_thread() is threading.main_thread() and callable(handler):
            self._passing_on = handler
            signal.signal(signal.SIGTERM, self._heard)

    def close(self) -> None:
        """Give the place back."""
        if self._passing_on and signal.getsignal(signal.SIGTERM) == self._heard:
            signal.signal(signal.SIGTERM, self._passing_on)
            self._passing_on = None

    def _heard(self, signum: int, frame: FrameType | None) -> None:
        if self._loop.is_closed() or self._task:
            self._pass_on()
        else:
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._leave())

    async def _leave(self) -> None:
        with suppress(Exception):  # The server ends in any case.
            async with asyncio.timeout(_HELD_UP):
                await self._work()
        self._pass_on()

    def _pass_on(self) -> None:
        if self._passing_on:
            self._passing_on(signal.SIGTERM, None)
