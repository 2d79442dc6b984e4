"""Network links that misbehave: between clients and a server, a server and its database, its layer or its model."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from tests.live.proxy import Cut, FaultProxy

#: Bytes that pass at a time over a link with a rate.
_SLICE: Final = 512
#: A link with a rate is cheap to leave: its state is looked at this often, in seconds.
_LONGEST_WAIT: Final = 0.05


class Link(FaultProxy):
    """Forwards loopback connections to ``port`` under the weather of the moment, which applies to open ones too.

    ``latency`` and ``jitter`` (seconds; up to so much more) delay each chunk in both directions, ``rate`` is bytes per
    second of each connection and direction, 0 for no limit. While ``deaf`` nothing reaches the server, while ``mute``
    nothing reaches the client, and connections stay open: one of them is a half-open connection, both are a black hole.
    What was held passes when that is over, unless the connection was broken meanwhile. ``cut`` says, for the random
    numbers of this link, where a new connection will break.
    """

    def __init__(self, port: int, luck: random.Random | None = None) -> None:
        super().__init__(port)
        self._luck = luck or random.Random(0)
        self._forth, self._back = asyncio.Event(), asyncio.Event()
        self.jitter = 0.0
        self.rate = 0.0
        self.cut: Callable[[random.Random], Cut | None] | None = None
        self.clear()

    def clear(self) -> None:
        """Fair weather: everything passes at once. Connections that were broken stay broken."""
        self.latency = self.jitter = self.rate = 0.0
        self.refuse = False
        self.cut = None
        self._forth.set()
        self._back.set()

    def hold(self, *, deaf: bool = True, mute: bool = True) -> None:
        """Let nothing through, towards the server, towards the client, or both, until ``clear``."""
        if deaf:
            self._forth.clear()
        if mute:
            self._back.clear()

    def cut_of(self, number: int) -> Cut | None:
        """Where the connection with this number breaks."""
        return self.cut(self._luck) if self.cut else super().cut_of(number)

    async def carry(self, data: bytes, to: asyncio.StreamWriter, *, back: bool) -> None:
        """Pass bytes on as the weather allows."""
        way = self._back if back else self._forth
        if delay := self.latency + self.jitter * self._luck.random():
            await asyncio.sleep(delay)
        while data:
            await way.wait()
            piece, data = (data[:_SLICE], data[_SLICE:]) if self.rate else (data, b"")
            to.write(piece)
            await to.drain()
            if self.rate:
                await self._spread(len(piece) / self.rate)

    async def _spread(self, seconds: float) -> None:
        """Wait, but not for a rate that has been lifted."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self.rate and (left := until - loop.time()) > 0:
            await asyncio.sleep(min(left, _LONGEST_WAIT))
