"""Whose turn it is: which prompts this process claims, and when.

A process claims prompts if its runner runs them where they come in, or if it is a worker. Any other process leaves them
queued and tells the workers. Claims are atomic, so it does no harm when several processes try.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from math import inf
from typing import Any, Protocol

from django.db import DatabaseError

from .brokers.interests import Interests
from .conf import get_settings
from .database import run_db
from .exceptions import NotFound
from .generations.claims import Claim, claim_next
from .generations.endings import fail_next, free_queues, queues
from .generations.recovery import abandoned, sweep
from .generations.run import Run
from .providers.registry import prepare_default
from .runners.base import Runner

logger = logging.getLogger("llmstream")

#: A busy worker lets idle ones go first: it looks up to so much later.
_COURTESY = 0.02
#: A prompt that cannot be claimed is tried again after ``POLL_INTERVAL``, then after twice as long, up to so many
#: seconds. After so many tries it ends as failed.
_AGAIN_MAX = 60.0
_TRIES = 5


class Host(Protocol):
    """What turns need of the engine."""

    runs: dict[int, Run]
    interests: Interests
    runner: Runner

    def start(self, claim: Claim) -> None:
        """Run a claimed generation here."""

    def start_reserved(self, claim: Claim) -> None:
        """Run a claimed generation in the place that was reserved for it."""

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task."""

    def wake(self) -> None:
        """See that the timer runs."""


class Turns:
    """The prompts that wait, for one engine. ``reserve`` and ``release`` may be called in any thread."""

    def __init__(self, host: Host) -> None:
        self._host = host
        #: Whether this process claims what others hand off.
        self.working = False
        #: Conversations in which a prompt that came in here waits for its turn, and since when.
        self.queued: dict[int, int] = {}
        self._clock = itertools.count()
        self._reserved = 0
        self._lock = threading.Lock()
        #: Whether a prompt was passed over because there was no room.
        self._passed = False
        self._closed = False
        #: Whether the default model was told to get ready.
        self._ready = False
        #: Conversations whose generations had lost their owners when it was last looked.
        self._abandoned: set[int] = set()
        self._sweeps_from = 0.0
        #: How often the next prompt of a conversation could not be claimed, and when it is tried again.
        self._failures: dict[int, tuple[int, float]] = {}

    @property
    def claims(self) -> bool:
        """Whether generations run in this process."""
        return (self.working or self._host.runner.here) and not self._closed

    @property
    def room(self) -> int:
        """How many more generations may run here."""
        return get_settings().max_generations - len(self._host.runs) - self._reserved

    def work(self) -> None:
        """Claim what other processes hand off, from now on: this process is a worker."""
        self.working = True
        self.get_ready()
        self._host.wake()

    def get_ready(self) -> None:
        """Have the default model get ready, if generations run here: a first prompt is near. Done once."""
        if self.claims and not self._ready:
            self._ready = True
            self._host.spawn(prepare_default())

    def close(self) -> None:
        """Claim nothing more."""
        self._closed = True

    def reserve(self) -> bool:
        """Keep a place for a generation about to be claimed; False when none may be claimed here now."""
        with self._lock:
            if not self.claims or self.room <= 0:
                return False
            self._reserved += 1
            return True

    def release(self) -> None:
        """Give a place up: the generation runs now, or was not claimed."""
        with self._lock:
            self._reserved = max(0, self._reserved - 1)

    def wait(self, conversation: int, *, ready: bool = True) -> None:
        """A prompt that came in here waits; ``ready`` says that nothing is at work before it."""
        if conversation not in self.queued:
            self._host.interests.add(conversation)
        self.queued[conversation] = next(self._clock)
        if self.claims:
            self._host.spawn(self._claim(conversation))
        elif ready:
            self._host.runner.hand_off(conversation)
        self._host.wake()

    def ended(self, conversation: int) -> None:
        """A generation of a conversation has ended, here or elsewhere."""
        if self.claims and conversation in self.queued:
            self._host.spawn(self._claim(conversation))

    def done(self, conversation: int) -> None:
        """A generation that ran here has ended, and there is room."""
        if self.claims and (self.working or self._passed):
            self._host.spawn(self._go_on(conversation))

    def take_up(self, conversations: Sequence[int]) -> None:
        """Claim prompts that were handed off, as far as there is room; the others are left to other workers."""
        if self.room > 0:
            self._host.spawn(self._take_up(conversations))
        else:
            self._passed = True

    async def run_next(self, conversation: int) -> bool:
        """Run a conversation's next prompt to its end, whatever else runs here; return whether another one is next."""
        try:
            claim, _ = await run_db(claim_next, conversation)
        except NotFound:
            return False
        if claim is None:
            return False
        self._host.start(claim)
        if task := self._host.runs[claim.generation].task:
            await asyncio.wait([task])
        return bool(await run_db(free_queues, [conversation]))

    async def look(self) -> None:
        """See to the prompts that wait here. Raises DatabaseError."""
        if not self.queued:
            return
        now = next(self._clock)
        waiting = await run_db(queues, list(self.queued))
        for conversation in self.queued.keys() - waiting.keys():
            self._forget(conversation, now)
        await self._begin(waiting)

    async def notice(self) -> bool:
        """Tell whether generations have lost their owners since the last look. Raises DatabaseError."""
        try:
            before, self._abandoned = self._abandoned, await run_db(abandoned)
        except DatabaseError:
            # Their owners could not keep their leases either: they go first when the database is back.
            self._sweeps_from = time.monotonic() + get_settings().lease / 3
            raise
        return bool(self._abandoned - before)

    async def sweep(self) -> None:
        """Recover or end what lapsed anywhere, and see to prompts that nobody picked up. Raises DatabaseError."""
        if time.monotonic() < self._sweeps_from:
            return
        found = await run_db(sweep)
        held_up = found.held_up
        if not self.claims:
            for conversation in held_up:
                self._host.runner.hand_off(conversation, again=conversation not in found.queued)
            return
        if len(held_up) > (room := max(0, self.room)):
            self._passed = True
        for conversation in held_up[:room]:
            self.wait(conversation)

    async def _begin(self, waiting: Mapping[int, bool]) -> None:
        for conversation, free in waiting.items():
            if free and self.claims:
                await self._claim(conversation)
            elif free:
                self._host.runner.hand_off(conversation, again=True)

    async def _claim(self, conversation: int) -> None:
        """Claim the next prompt of a conversation if nothing is at work there and there is room."""
        if time.monotonic() < self._failures.get(conversation, (0, 0.0))[1]:
            return
        if not self.reserve():
            self._passed = True
            return
        now, claim = next(self._clock), None
        try:
            claim, waiting = await run_db(claim_next, conversation)
            if not waiting:
                self._forget(conversation, now)
            self._failures.pop(conversation, None)
        except NotFound:
            self._forget(conversation, now)
        except DatabaseError:
            logger.warning("A queued prompt could not be claimed; the sweep will try again")
        except Exception:  # one bad conversation must not hold up the others
            logger.exception("The next prompt of conversation %s cannot be claimed", conversation)
            await self._back_off(conversation)
        finally:
            if claim is None:
                self.release()
        if claim:
            self._host.start_reserved(claim)

    async def _back_off(self, conversation: int) -> None:
        tries, until = self._failures.get(conversation, (0, 0.0))
        if until == inf:
            return  # It is being ended; once more, and the prompt behind it would be.
        tries += 1
        wait = min(_AGAIN_MAX, get_settings().poll_interval * 2 ** min(tries - 1, 16))
        self._failures[conversation] = tries, time.monotonic() + wait
        if tries < _TRIES:
            return
        self._failures[conversation] = tries, inf
        try:
            await run_db(fail_next, conversation)
            self._failures.pop(conversation, None)  # Another try may have been luckier meanwhile.
        except Exception:
            logger.exception("The next prompt of conversation %s cannot be ended either", conversation)
            self._failures[conversation] = tries, time.monotonic() + wait

    async def _take_up(self, conversations: Sequence[int]) -> None:
        await asyncio.sleep(_COURTESY * (1 - self.room / get_settings().max_generations))
        # One quick look first: by now another worker may have claimed all of them.
        await self._claim_free(conversations)

    async def _go_on(self, conversation: int) -> None:
        passed, self._passed = self._passed, False
        if self.working:
            await self._claim_free(None if passed else [conversation])
        else:
            await self._claim_free(list(self.queued))

    async def _claim_free(self, conversations: Sequence[int] | None) -> None:
        limit = max(1, self.room)
        try:
            free = await run_db(free_queues, conversations, limit=limit)
        except DatabaseError:
            logger.warning("The queue could not be read; the sweep will try again")
            return
        if len(free) == limit:
            self._passed = True  # there may be more
        for conversation in free:
            await self._claim(conversation)

    def _forget(self, conversation: int, now: int) -> None:
        """No prompt of a conversation waits as of ``now``; one that has come since then does."""
        if self.queued.get(conversation, now) < now:
            del self.queued[conversation]
            self._host.interests.remove(conversation)
