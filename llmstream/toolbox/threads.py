"""Threads for tools that are no coroutines: a bounded number, and none of them keeps a database connection."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

from django.core.signals import setting_changed

from ..conf import get_settings
from ..database import release_connections


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(get_settings().tool_threads, thread_name_prefix="llmstream-tool")


def _work(func: Callable[[], Any]) -> Any:
    try:
        return func()
    finally:
        release_connections()


async def run_in_thread(func: Callable[[], Any]) -> Any:
    """Run a function on one of the threads, in a copy of the caller's context.

    A function that has begun goes on when the caller is cancelled, and holds its thread until it returns.
    """
    work = partial(contextvars.copy_context().run, _work, func)
    return await asyncio.get_running_loop().run_in_executor(_executor(), work)


def _reset(*, setting: str, **_: Any) -> None:
    if setting == "LLMSTREAM" and _executor.cache_info().currsize:
        executor = _executor()
        _executor.cache_clear()
        executor.shutdown(wait=False)


setting_changed.connect(_reset, dispatch_uid="llmstream.toolbox")
