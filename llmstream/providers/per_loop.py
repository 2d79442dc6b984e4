"""Things that belong to an event loop and end with it."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar
from weakref import WeakMethod

T = TypeVar("T")

_EXIT_WAIT = 1.0


class PerLoop(Generic[T]):
    """One resource per running event loop, made on first use and released when the loop or the process ends.

    Runners close open async generators before they close their loop, so each resource is held by one. Loops that no
    runner ends, such as those of daemon threads, are seen to when the interpreter exits.
    """

    def __init__(self, make: Callable[[], T], release: Callable[[T], Coroutine[Any, Any, None]]) -> None:
        self._make = make
        self._release = release
        self._held: dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]] = {}
        self._pid = os.getpid()
        atexit.register(_at_exit, WeakMethod(self._release_rest))

    async def get(self) -> T:
        """Return the running loop's resource."""
        loop = asyncio.get_running_loop()
        if found := self._held.get(loop):
            return found[0]
        # A copy: loops of other threads come and go meanwhile.
        for other in list(self._held):
            if other.is_closed():
                self._held.pop(other, None)
        resource = self._make()
        keeper = self._keep(loop, resource)
        self._held[loop] = (resource, keeper)
        await anext(keeper)
        return resource

    async def aclose(self) -> None:
        """Release the running loop's resource, if there is one; the next ``get`` makes another."""
        if found := self._held.get(asyncio.get_running_loop()):
            await found[1].aclose()

    async def _keep(self, loop: asyncio.AbstractEventLoop, resource: T) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._held.pop(loop, None)
            await self._release(resource)

    def _release_rest(self) -> None:
        if os.getpid() != self._pid:
            return  # The loops are the parent's.
        while self._held:
            loop, (resource, _) = self._held.popitem()
            with suppress(RuntimeError, TimeoutError):
                if loop.is_running():
                    asyncio.run_coroutine_threadsafe(self._release(resource), loop).result(_EXIT_WAIT)
                elif not loop.is_closed():
                    loop.run_until_complete(self._release(resource))


def _at_exit(method: WeakMethod[Callable[[], None]]) -> None:
    if bound := method():
        bound()
