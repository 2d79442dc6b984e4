"""The process's one writer: gathers what its generations produce and commits it in groups.

While a flush is in flight everything that arrives is gathered; when it ends, all of it goes into the next transaction.
Each generation has at most one pending delta, which grows while it waits, so rows per second and memory stay bounded
under any load. Deltas are joined before they get a position: what is shown live and what is replayed are the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from time import monotonic, thread_time
from typing import TypeAlias

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connections

from ..conf import get_settings
from ..database import release_connections
from ..events import WireEvent, delta
from ..exceptions import LeaseLost, LLMStreamError
from ..observers import tell
from .group import Owner, Write, commit, commit_again
from .rows import Draft
from .sql import ResponseCursor

logger = logging.getLogger("llmstream.log")

_RETRY_FIRST = 0.1
_RETRY_MAX = 2.0
_IDLE_RELEASE = 1.0


class Lane:
    """One generation's way into the log, used from the event loop only.

    ``stored`` is how many of its events are in the log already.
    ``on_lost`` is called once, when a write was refused (LeaseLost) or can never be stored (another error).
    """

    def __init__(
        self,
        writer: Writer,
        *,
        conversation: int,
        generation: int,
        fence: int,
        message_id: str,
        generation_id: str,
        stored: int,
        on_lost: Callable[[LLMStreamError], None],
    ) -> None:
        self.conversation = conversation
        self.generation = generation
        self.fence = fence
        self.on_lost = on_lost
        self._writer = writer
        self._ids = (message_id, generation_id)
        self._stored = stored
        self._drafts: list[Draft] = []
        self._growing: tuple[str, int] | None = None
        self._pieces: list[str] = []
        self._stores: list[Callable[[], None]] = []
        self._apply: Callable[[int], None] | None = None
        self._refused: Write | None = None
        self._ended: asyncio.Future[None] | None = None
        self._error: LLMStreamError | None = None
        self._dirty = False
        self._cursor: ResponseCursor | None = None
        self._following = ""

    def delta(self, kind: str, part: int, text: str) -> None:
        """Add text to the pending delta; another kind or part closes it and opens the next."""
        if self._error:
            return
        if self._growing != (kind, part):
            self._close_delta()
            self._growing = (kind, part)
        self._pieces.append(text)
        if not self._dirty:
            self._dirty = True
            self._writer.add(self)

    def append(self, event: WireEvent, store: Callable[[], None] | None = None) -> None:
        """Add an event after whatever is pending; ``store`` is ORM work for the transaction that stores it."""
        if self._error:
            return
        self._close_delta()
        self._drafts.append(Draft.of(event, self.generation))
        if store:
            self._stores.append(store)
        self._touch()

    def follow(self, response_id: str, cursor: str) -> None:
        """Store how far the service's response has been followed, together with what is pending.

        A new response is stored at once, so that it is not lost before it has said anything; ``""`` ends it.
        """
        if self._error:
            return
        self._cursor = ResponseCursor(response_id, cursor)
        if self._following != response_id:
            self._following = response_id
            self._touch()

    async def end(self, event: WireEvent, apply: Callable[[int], None]) -> None:
        """Append the last event and return when it is committed, in one transaction with ``apply``.

        Raises LeaseLost when the generation was no longer ours, or ``apply`` refused; then nothing of the last flush is
        stored.
        """
        if self._error:
            raise self._error
        self._apply = apply
        self._ended = asyncio.get_running_loop().create_future()
        self.append(event)
        await self._ended

    def reopen(self) -> None:
        """Go on after ``apply`` has refused the end: what came before it is pending again."""
        refused = self._refused
        if refused is None:
            raise RuntimeError("The end of this lane was not refused.")
        self._drafts, self._stores, self._stored = [*refused.drafts[:-1]], [*refused.stores], refused.before
        self._apply = self._ended = self._error = self._refused = None
        self._cursor = refused.cursor
        if self._drafts or self._cursor:
            self._touch()

    def take(self) -> Write:
        """Hand over what is pending; nothing once a write of ours was refused."""
        self._close_delta()
        if self._error:
            return Write(self.conversation, self.generation, self.fence, [], self._stored)
        drafts, self._drafts, self._dirty = self._drafts, [], False
        stores, self._stores = self._stores, []
        before = self._stored
        self._stored += len(drafts)
        cursor, self._cursor = self._cursor, None
        return Write(self.conversation, self.generation, self.fence, drafts, before, self._apply, stores, cursor)

    def settle(self, error: LLMStreamError | None, write: Write) -> None:
        """Learn how a write of ours went."""
        if error:
            self._error = error
        if self._ended and not self._ended.done() and (error or write.apply):
            if error:
                self._refused = write if write.apply else None
                self._ended.set_exception(error)
            else:
                self._ended.set_result(None)
        elif error:
            self.on_lost(error)

    def _touch(self) -> None:
        if not self._dirty:
            self._dirty = True
            self._writer.add(self)

    def _close_delta(self) -> None:
        if self._growing:
            kind, part = self._growing
            self._drafts.append(Draft.of(delta(kind, *self._ids, part, "".join(self._pieces)), self.generation))
            self._growing = None
            self._pieces.clear()


#: Writes on their way, each with the lane that waits for it.
Flight: TypeAlias = list[tuple[Lane, Write]]


class Writer:
    """Group commit for one event loop, on one thread with one connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="llmstream-writer")
        self._dirty: list[Lane] = []
        self._busy = False
        #: Writes of a flight with a bad one in it that have not had their turn yet.
        self._alone: Flight = []
        self._pace = Pace()
        self._retry = _RETRY_FIRST
        self._release: asyncio.TimerHandle | None = None
        self._closing: Future[None] | None = None

    def add(self, lane: Lane) -> None:
        """Take note that a lane has something pending, and flush as soon as the pace allows."""
        self._dirty.append(lane)
        if not self._busy:
            self._busy = True
            self._schedule()

    def _schedule(self) -> None:
        if (delay := self._pace.delay()) > 0:
            self._loop.call_later(delay, self._flush)
        else:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._release:
            self._release.cancel()
            self._release = None
        lanes, self._dirty = self._dirty, []
        self._pace.mark()
        flight = [(lane, write) for lane in lanes if (write := lane.take()).drafts or write.cursor]
        if flight:
            self._send(flight, commit)
        else:
            self._next()

    def _send(self, flight: Flight, commit: Callable[[Sequence[Write]], set[Owner]]) -> None:
        if self._closing:
            return
        landing = self._loop.run_in_executor(self._thread, commit, [write for _, write in flight])
        if get_settings().observers:
            landing.add_done_callback(partial(_tell_flushed, flight, monotonic()))
        landing.add_done_callback(partial(self._landed, flight))

    def _landed(self, flight: Flight, landing: asyncio.Future[set[Owner]]) -> None:
        error = landing.exception()
        if self._closing:
            return
        if isinstance(error, OperationalError | InterfaceError):
            self._send_again(flight, error)
        elif error and len(flight) > 1:
            self._send_alone(flight)
        else:
            self._retry = _RETRY_FIRST
            self._settle(flight, set() if error else landing.result(), error)
            if self._alone:
                self._send_alone(self._alone)
            else:
                self._next()

    def _send_again(self, flight: Flight, error: BaseException) -> None:
        # The database is away or locked. Keep the order: the same writes again, while new ones gather behind them.
        logger.warning("The log could not be written, trying again in %.1f s: %s", self._retry, type(error).__name__)
        self._loop.run_in_executor(self._thread, _drop_connections)
        self._loop.call_later(self._retry, self._send, flight, commit_again)
        self._retry = min(self._retry * 2, _RETRY_MAX)

    def _send_alone(self, flight: Flight) -> None:
        # One of them cannot be stored: find out which, and let the others through.
        self._alone = flight[1:]
        self._send(flight[:1], commit)

    def _settle(self, flight: Flight, refused: set[Owner], error: BaseException | None) -> None:
        if error:
            logger.error("Events could not be stored", exc_info=error)
        for lane, write in flight:
            if error or write.owner in refused:
                lane.settle(LLMStreamError() if error else LeaseLost(), write)
            elif write.apply:
                lane.settle(None, write)

    def _next(self) -> None:
        if self._dirty:
            self._schedule()
        else:
            self._busy = False
            self._release = self._loop.call_later(_IDLE_RELEASE, self._go_idle)

    def _go_idle(self) -> None:
        self._release = None
        if not self._busy:
            self._loop.run_in_executor(self._thread, release_connections)

    def close(self) -> Future[None]:
        """Give the thread up; what is pending is lost, as in a crash. The future is done when the thread is."""
        if not self._closing:
            if self._release:
                self._release.cancel()
            self._closing = self._thread.submit(connections.close_all)
            self._thread.shutdown(wait=False)
        return self._closing


def _tell_flushed(flight: Flight, since: float, landing: asyncio.Future[set[Owner]]) -> None:
    if not landing.exception():
        tell("flushed", sum(len(write.drafts) for _, write in flight), monotonic() - since)


def _drop_connections() -> None:
    for connection in connections.all(initialized_only=True):
        try:
            connection.close()
        except DatabaseError:
            connection.connection = None


class Pace:
    """When the next flush may start: at once when idle, further apart as the event loop fills.

    The measure is the share of time for which the loop's own thread was on the CPU.
    """

    def __init__(self) -> None:
        self._last = 0.0
        self._sampled = monotonic()
        self._used = thread_time()
        self._interval = 0.0

    def mark(self) -> None:
        """Note that a flush starts now."""
        now = self._last = monotonic()
        if (passed := now - self._sampled) >= 0.1:
            used = thread_time()
            load = (used - self._used) / passed
            self._sampled, self._used = now, used
            settings = get_settings()
            stretch = min(1.0, max(0.0, (load - 0.3) / 0.3))
            span = settings.flush_interval_max - settings.flush_interval_min
            self._interval = settings.flush_interval_min + span * stretch

    def delay(self) -> float:
        """Seconds until the next flush may start; 0 or less means at once."""
        return self._last + self._interval - monotonic()
