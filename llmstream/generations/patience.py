"""How long a run waits for the next sign of life, and what happens when none comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


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
