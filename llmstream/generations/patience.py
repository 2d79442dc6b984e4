"""How long a run waits for the next sign of life, and what happens when none comes."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

logger = logging.getLogger("llmstream.generations")

T = TypeVar("T")

#: Seconds that a provider has to close its stream, before it is cancelled once more.
CLOSING = 5.0


class Patience:
    """A time limit that every sign of life prolongs; ``heard`` is the loop's time of the last one.

    ``on_silence`` is called once it is over, unless nobody is watching.
    """

    def __init__(self, seconds: float, on_silence: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._on_silence = on_silence
        self._timer: asyncio.TimerHandle | None = None
        self.heard = self._loop.time()

    @property
    def left(self) -> float:
        """Seconds until it is over."""
        return self.heard + self._seconds - self._loop.time()

    def watch(self, seconds: float) -> None:
        """Begin anew with a limit of so many seconds."""
        self.grant(seconds)
        self._look()

    def grant(self, seconds: float) -> None:
        """Expect nothing for so many seconds, and watch no longer."""
        self.heard, self._seconds = self._loop.time(), seconds
        self.stop()

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        if (left := self.left) > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._on_silence()


def insist(task: asyncio.Task[None] | None, done: Callable[[], bool]) -> None:
    """Cancel a task, again and again for as long as the provider that it hears does not let it go."""
    if task and not task.done() and not done():
        task.cancel()
        again = task.get_loop().call_later(CLOSING, insist, task, done)
        # Left to run out, it would keep what a run that was stopped has said.
        task.add_done_callback(lambda _: again.cancel(), context=contextvars.Context())


@asynccontextmanager
async def closing(stream: AsyncGenerator[T, None]) -> AsyncIterator[AsyncGenerator[T, None]]:
    """Close a provider's stream at the end, and wait no longer than ``CLOSING`` for that."""
    try:
        yield stream
    finally:
        try:
            async with asyncio.timeout(CLOSING):
                await stream.aclose()
        except TimeoutError:
            logger.warning("A provider did not close its stream within %g s", CLOSING)
