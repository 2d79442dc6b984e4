"""ORM work from async code: one bounded executor per process.

``sync_to_async`` would tie a thread, and with it a database connection, to every open stream. Here a few threads serve
all of them, and a connection goes back as soon as its unit of work is done.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.core.signals import setting_changed
from django.db import connections, transaction

from .conf import get_settings

P = ParamSpec("P")
T = TypeVar("T")


def release_connections() -> None:
    """Give this thread's connections back: to their pool at once, else by the site's CONN_MAX_AGE.

    SQLite stays open, since opening a file again costs more than keeping it.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            continue
        if connection.settings_dict.get("OPTIONS", {}).get("pool"):
            connection.close()
        elif connection.vendor != "sqlite" or connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()


async def release_request_connections() -> None:
    """Close what middleware opened in the request's own thread, where it would stay open as long as the response."""
    await sync_to_async(_close_connections)()


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


_sqlite_turn = threading.Lock()


@contextmanager
def write_transaction(alias: str) -> Iterator[None]:
    """Open a transaction that will write.

    SQLite has one writer at a time and lets the others sleep and try again, for up to a tenth of a second a turn. The
    threads of this process line up here instead, where each goes on the moment the one before it is done. The turn is
    over with the commit: what runs after it may write in turn, and holds nobody up.
    """
    connection = connections[alias]
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        with ExitStack() as turn:
            turn.enter_context(_sqlite_turn)
            with transaction.atomic(using=alias):
                transaction.on_commit(turn.close, using=alias)
                yield
    else:
        with transaction.atomic(using=alias):
            yield


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(get_settings().database_threads, thread_name_prefix="llmstream-db")


def _work(func: Callable[[], T]) -> T:
    try:
        return func()
    finally:
        release_connections()


async def run_db(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a synchronous unit of ORM work on the executor, in a copy of the caller's context.

    Work already begun is not undone by cancelling the caller: a unit of work commits or fails as a whole.
    """
    work = partial(contextvars.copy_context().run, _work, partial(func, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(_executor(), work)


def close_executor() -> None:
    """End the executor's threads and with them their connections; the next unit of work starts new ones."""
    if _executor.cache_info().currsize:
        executor = _executor()
        _executor.cache_clear()
        # A connection is closed by the thread that opened it, so each of them takes one of these.
        together = threading.Barrier(executor._max_workers)
        for _ in range(executor._max_workers):
            executor.submit(_close_with_the_others, together)
        executor.shutdown(wait=True)


def _close_with_the_others(together: threading.Barrier) -> None:
    together.wait()
    connections.close_all()


def _reset(*, setting: str, **_: Any) -> None:
    if setting == "LLMSTREAM":
        close_executor()


setting_changed.connect(_reset, dispatch_uid="llmstream.database")
