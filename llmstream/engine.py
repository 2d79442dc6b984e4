"""The running part of llmstream: one engine per event loop.

It owns the log's writer, the hub and the generations that run here, and one timer for everything periodic: polling for
news that no hint announced, renewing leases, sweeping lapsed ones, heartbeats and stuck writes. The timer runs from
the first use on, so that what other processes left behind is found. Nothing here depends on a start-up or shutdown
event of the server.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from django.db import DatabaseError

from .access import Stream, review
from .brokers.base import Broker, Ephemeral, Head
from .brokers.interests import Interests
from .conf import get_settings, import_setting
from .database import run_db
from .events import MESSAGE_END, TOOL_APPROVAL_RESPONSE
from .exceptions import LeaseLost
from .generations.claims import Claim, renew, still_owned
from .generations.leftovers import cancel_left
from .generations.observed import observed
from .generations.recovery import hand_over
from .generations.run import Run
from .hub import Hub
from .log.rows import Batch
from .log.transaction import events_committed
from .log.writer import Writer
from .observers import tell
from .runners.base import Runner
from .shutdown import Departure
from .signals import swept
from .turns import Turns

logger = logging.getLogger("llmstream")

_TICK = 1.0
#: Events after which something else is to be done than to show them.
_TURNS = frozenset({MESSAGE_END, TOOL_APPROVAL_RESPONSE})
#: Seconds that the end of a server's loop may be held up to hand over what runs on it.
_LEAVING = 5.0

PartT = TypeVar("PartT")


class Engine:
    """Everything of llmstream that lives on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.writer = Writer(loop)
        self.broker: Broker = import_setting(get_settings().broker)(self)
        self.interests = Interests(self.broker)
        self.hub = Hub(on_first=self._first_reader, on_last=self.interests.remove)
        self.runs: dict[int, Run] = {}
        self.runner: Runner = import_setting(get_settings().runner)(self)
        self.turns = Turns(self)
        self.streams: set[Stream] = set()
        #: Called at every tick with the loop's time.
        self.tickers: list[Callable[[float], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._reviewing: asyncio.Task[None] | None = None
        self._cancelling: asyncio.Task[None] | None = None
        self._outliving: asyncio.Task[None] | None = None
        self._departure = Departure(loop, self.leave)
        self._closed = False
        self._due: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._parts: dict[Callable[[Engine], Any], Any] = {}
        events_committed.connect(self._committed, weak=True)
        tell("watch", self)
        # One look around at the start: what a process before this one left behind must not wait for a first stream.
        loop.call_soon_threadsafe(self.wake)

    def _committed(self, *, batches: list[Batch], **_: Any) -> None:
        """Called in whatever thread committed."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._publish, batches)

    def _publish(self, batches: list[Batch]) -> None:
        turns = [(batch.conversation, row) for batch in batches for row in batch.rows if row.type in _TURNS]
        if any(row.type == MESSAGE_END and row.generation not in self.runs for _, row in turns):
            self._cancel_left()  # Ended by this process, run by another or by none.
        self.receive(batches)
        self.broker.publish(batches)
        # Decided by this process, so this process sees to it that the generation goes on.
        for conversation in {of for of, row in turns if row.type == TOOL_APPROVAL_RESPONSE}:
            self.await_turn(conversation)

    def receive(self, batches: list[Batch]) -> None:
        """Take committed batches, from this process or from another one."""
        self.hub.publish(batches)
        for batch in batches:
            for row in batch.rows:
                if row.type == MESSAGE_END and row.generation is not None:
                    self._ended(batch.conversation, row.generation)

    def announce(self, head: Head) -> None:
        """Learn that another process has committed more than travels in a hint."""
        self.hub.announce(head.conversation, head.epoch, head.seq)
        for generation in head.ended:
            self._ended(head.conversation, generation)

    def broadcast(self, conversation: int, message: Ephemeral) -> None:
        """Show an ephemeral message to everybody who has a conversation open, in every process."""
        self.hear(conversation, message)
        self.broker.broadcast(conversation, message)

    def hear(self, conversation: int, message: Ephemeral) -> None:
        """Show an ephemeral message to those who have a conversation open here."""
        if topic := self.hub.topics.get(conversation):
            topic.hear(message)

    def _first_reader(self, conversation: int) -> None:
        """Somebody begins to read a conversation that nobody else reads here, and may ask something soon."""
        self.interests.add(conversation)
        self.turns.get_ready()

    def _ended(self, conversation: int, generation: int) -> None:
        if run := self.runs.pop(generation, None):
            run.cut(LeaseLost())
        self.turns.ended(conversation)

    def start(self, claim: Claim) -> None:
        """Run a claimed generation here, detached from whatever asked for it."""
        if earlier := self.runs.get(claim.generation):
            earlier.cut(LeaseLost())
        run = self.runs[claim.generation] = Run(claim, self.writer)
        self.interests.add(claim.conversation)
        run.task = self.spawn(observed(claim, run()))
        run.task.add_done_callback(lambda _: self._done(run), context=contextvars.Context())
        if self._outliving is None:
            self._departure.await_signal()
            self._outliving = self.spawn(self._outlive())
        self.wake()

    def start_reserved(self, claim: Claim) -> None:
        """Run a claimed generation in the place that was reserved for it."""
        self.start(claim)
        self.turns.release()

    def await_turn(self, conversation: int, *, ready: bool = True) -> None:
        """See that the next prompt of a conversation runs, here or elsewhere, when the one before it has ended."""
        self.turns.wait(conversation, ready=ready)

    def _done(self, run: Run) -> None:
        if self.runs.get(run.claim.generation) is run:
            del self.runs[run.claim.generation]
        self.interests.remove(run.claim.conversation)
        self.turns.done(run.claim.conversation)

    async def leave(self) -> None:
        """Claim nothing more and hand over everything that runs here, for a process that is asked to end.

        What its model's policy does not let go on elsewhere is ended as interrupted.
        """
        await self._hand_over()
        if self.turns.working:
            await self.broker.aclose()  # The others hear the last of it; a server's readers hear on until they are cut.

    async def _hand_over(self) -> None:
        self.turns.close()
        owned = {pk: run.claim.fence for pk, run in self.runs.items()}
        for run in list(self.runs.values()):
            run.cut(LeaseLost())
        if owned:
            for conversation in await run_db(hand_over, owned):
                self.runner.hand_off(conversation)

    async def _outlive(self) -> None:
        """Hand over what runs here when a server cancels every task of its loop, as the last thing that it does."""
        try:
            await self.loop.create_future()
        except asyncio.CancelledError:
            if not self._closed:
                with suppress(TimeoutError, DatabaseError):
                    async with asyncio.timeout(_LEAVING):
                        await self._hand_over()
            raise

    def part(self, kind: Callable[[Engine], PartT]) -> PartT:
        """Return this engine's one instance of what a transport keeps per event loop, made on first use."""
        if kind not in self._parts:
            self._parts[kind] = kind(self)
        found: PartT = self._parts[kind]
        return found

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task in a clean context, keep it alive, and log its failure."""
        clean = contextvars.Context()
        task = self.loop.create_task(coroutine, context=clean)
        self._tasks.add(task)
        task.add_done_callback(self._reap, context=clean)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("A background task failed", exc_info=error)

    def wake(self) -> None:
        """See that the timer runs; call after adding something to look after."""
        if self._timer is None:
            delay = min(_TICK, get_settings().poll_interval)
            self._timer = self.loop.call_later(delay, self._tick, context=contextvars.Context())

    async def aclose(self) -> None:
        """Cancel what runs here, as a crash would, but for the write under way; for loops that end before a process."""
        self._closed = True
        self._departure.close()
        if self._timer:
            self._timer.cancel()
        self.turns.close()
        events_committed.disconnect(self._committed)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.broker.aclose()
        await asyncio.wait({asyncio.wrap_future(self.writer.close())})
        _engines().forget(self)

    def _tick(self) -> None:
        self._timer = None
        now = self.loop.time()
        for stream in list(self.streams):
            stream.tick(now)
        for ticker in self.tickers:
            ticker(now)
        settings = get_settings()
        if (self._looking is None or self._looking.done()) and self._is_due("poll", now, settings.poll_interval):
            self._looking = self.spawn(self._look(sweeping=self._is_due("sweep", now, settings.sweep_interval)))
        between = settings.access_interval * random.uniform(0.9, 1.1)  # noqa: S311
        idle = self._reviewing is None or self._reviewing.done()
        if self.streams and idle and self._is_due("access", now, between):
            self._reviewing = self.spawn(self._review())
        self.wake()

    async def _review(self) -> None:
        """End what its holder may no longer have open."""
        try:
            await review(self.streams)
        except DatabaseError:
            logger.warning("Open streams could not be reviewed; trying again")
            self._due.pop("access", None)

    def _is_due(self, what: str, now: float, interval: float) -> bool:
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + interval
        return True

    async def _look(self, *, sweeping: bool) -> None:
        """Keep our leases, sweep those of others, poll for news: one after the other, and never twice at once."""
        try:
            sweeping = await self.turns.notice() or sweeping
            await self._keep(sweeping)
            # Half of it: news that the last poll found is no sign that hints come.
            await self.hub.poll(get_settings().poll_interval / 2)
            await self.turns.look()
            if sweeping:
                await self.turns.sweep()
                self._cancel_left()
                swept.send_robust(None)
        except DatabaseError:
            logger.warning("The database could not be polled; trying again")

    def _cancel_left(self) -> None:
        """Have the responses cancelled at their services that nobody reads any more."""
        if self._cancelling is None or self._cancelling.done():
            self._cancelling = self.spawn(self._cancel())

    async def _cancel(self) -> None:
        try:
            await cancel_left()
        except DatabaseError:
            logger.warning("Responses that were left could not be read; trying again")

    async def _keep(self, sweeping: bool) -> None:
        """Find out which runs are no longer ours, and keep the leases of the others.

        Always before a sweep: a process that slept must not take its own runs for somebody else's.
        """
        if not (owned := {pk: run.claim.fence for pk, run in self.runs.items()}):
            return
        mine = await run_db(still_owned, owned)
        for pk in owned.keys() - mine:
            if run := self.runs.get(pk):
                run.cut(LeaseLost())
        alive = {pk: owned[pk] for pk in mine if pk in self.runs and self.runs[pk].alive}
        if alive and (sweeping or self._is_due("renew", self.loop.time(), get_settings().lease / 3)):
            await run_db(renew, alive)


class _Engines:
    """The engines of this process, and the loop for servers that have none."""

    def __init__(self) -> None:
        self._by_loop: dict[asyncio.AbstractEventLoop, Engine] = {}
        self._background: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def of(self, loop: asyncio.AbstractEventLoop) -> Engine:
        with self._lock:
            if (engine := self._by_loop.get(loop)) is None:
                for closed in [other for other in self._by_loop if other.is_closed()]:
                    self._by_loop.pop(closed).writer.close()
                engine = self._by_loop[loop] = Engine(loop)
            return engine

    def forget(self, engine: Engine) -> None:
        with self._lock:
            if self._by_loop.get(engine.loop) is engine:
                del self._by_loop[engine.loop]

    def background(self) -> Engine:
        with self._lock:
            if self._background is None:
                self._background = asyncio.new_event_loop()
                threading.Thread(target=self._background.run_forever, name="llmstream-engine", daemon=True).start()
        return self.of(self._background)


@cache
def _engines() -> _Engines:
    return _Engines()


def get_engine() -> Engine:
    """Return the engine of the running event loop."""
    return _engines().of(asyncio.get_running_loop())


def background_engine() -> Engine:
    """Return an engine on a loop of its own thread, for callers whose loop does not live on: WSGI, commands."""
    return _engines().background()
