"""Generations as tasks of Django's tasks framework, or of ``django-tasks`` before Django 6.0."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

import django

from ..conf import get_settings
from ..database import release_connections
from ..engine import background_engine
from .base import Host, Runner

if django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task  # type: ignore[no-redef, unused-ignore]

logger = logging.getLogger("llmstream.runners")

#: A prompt that still waits is handed off again after ``LEASE`` seconds, then after twice as long, up to this.
_AGAIN_MAX = 600.0


@task()
def run_generation(conversation: int) -> None:
    """Run the conversation's next prompt to its end, if nothing else is at work there, and enqueue the one after it."""
    engine = background_engine()
    running = asyncio.run_coroutine_threadsafe(engine.turns.run_next(conversation), engine.loop)
    if running.result():
        run_generation.enqueue(conversation)


class TaskRunner(Runner):
    """Enqueues one task per prompt, when its turn has come, on the default task backend."""

    here: ClassVar[bool] = False

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        #: When each conversation is handed off again, and how long after that the next time is.
        self._again: dict[int, tuple[float, float]] = {}

    def hand_off(self, conversation: int, *, again: bool = False) -> None:
        """Enqueue a task; a prompt that waits long since all workers are busy gets another one ever more rarely."""
        now = self.host.loop.time()
        due, delay = self._again.pop(conversation, (now, 0.0))
        if not again:
            due, delay = now, 0.0
        elif not delay:  # Somebody else's, or one from before this process: not known to be lost.
            delay = get_settings().lease
            due = now + delay
        if now >= due:
            delay = min(2 * delay or get_settings().lease, _AGAIN_MAX)
            due = now + delay
            self.host.spawn(self._enqueue(conversation))
        self._again[conversation] = due, delay
        if len(self._again) > 10_000:
            del self._again[next(iter(self._again))]

    async def _enqueue(self, conversation: int) -> None:
        try:
            # Not on the threads for database work: a backend may run the task there and then.
            await asyncio.get_running_loop().run_in_executor(None, _enqueue, conversation)
        except Exception:
            logger.exception("A generation could not be handed off; trying again in a while")


def _enqueue(conversation: int) -> Any:
    try:
        return run_generation.enqueue(conversation)
    finally:
        release_connections()
