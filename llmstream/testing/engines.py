"""Engines of tests: what they have begun ends with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .. import engine as engines
from ..database import close_executor
from ..engine import Engine, get_engine

#: Seconds for what must come.
PATIENCE = 20.0


@asynccontextmanager
async def running_engine() -> AsyncIterator[Engine]:
    """The engine of this event loop, for an async test; the answers that it runs end with the block."""
    found = get_engine()
    try:
        yield found
    finally:
        await close_engine(found)


async def close_engine(found: Engine) -> None:
    """End everything that an engine runs, and the threads that do its database work."""
    await found.aclose()
    close_executor()


def close_background_engine() -> None:
    """End the engine that serves sync tests and clients, if there is one."""
    known = engines._engines()
    if known._background and (found := known._by_loop.get(known._background)):
        asyncio.run_coroutine_threadsafe(close_engine(found), found.loop).result(PATIENCE)
