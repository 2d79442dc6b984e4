"""One thread per process that sends notifications, so that neither answers nor requests wait for it."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from threading import BoundedSemaphore

from django.db import connections
from django_eventstream import send_event
from django_eventstream.utils import get_storage

from ...database import release_connections
from .outbox import StoredText, prune, publish, store
from .storage import StorageMixin

logger = logging.getLogger("llmstream")

#: Notifications that may wait while the database or Redis does not answer; further ones are lost.
_WAITING = 10_000
_PRUNE_EVERY = 3_600.0
_AGAIN_EVERY = 30.0


class Sender:
    """Does what it is given one after the other; failures are logged."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="llmstream-notifications")
        self._room = BoundedSemaphore(_WAITING)
        self._pruned_at = self._again_at = 0.0

    def submit(self, work: Callable[[], None]) -> None:
        """Have something done soon; returns at once."""
        if self._room.acquire(blocking=False):
            self._thread.submit(self._work, work)
        else:
            logger.warning("A notification is lost: %s others wait to be sent", _WAITING)

    def submit_at_times(self, work: Callable[[], None]) -> None:
        """Have something done soon that was not done for a while, if what is sent is stored."""
        if time.monotonic() >= self._again_at and isinstance(get_storage(), StorageMixin):
            self._again_at = time.monotonic() + _AGAIN_EVERY * random.uniform(0.8, 1.2)  # noqa: S311
            self.submit(work)

    def flush(self) -> None:
        """Return when everything has been done that was submitted before."""
        self._thread.submit(int).result()

    def close(self) -> None:
        """Do what was submitted, and end the thread with its connections."""
        self._thread.submit(connections.close_all)
        self._thread.shutdown()

    def _work(self, work: Callable[[], None]) -> None:
        self._room.release()
        try:
            work()
            if isinstance(get_storage(), StorageMixin) and time.monotonic() - self._pruned_at > _PRUNE_EVERY:
                self._pruned_at = time.monotonic()
                prune()
        except Exception:
            logger.exception("A notification could not be sent")
        finally:
            release_connections()


@cache
def get_sender() -> Sender:
    """Return this process's sender."""
    return Sender()


def close_sender() -> None:
    """Send what waits and end the thread; the next notification starts another."""
    if get_sender.cache_info().currsize:
        get_sender().close()
        get_sender.cache_clear()


def send(channels: Collection[str], kind: str, data: str, about: str = "") -> None:
    """Send a notification, JSON text, to channels; where our storage is in use it is stored first, then published."""
    if isinstance(get_storage(), StorageMixin):
        store(channels, kind, data, about)
        for channel in channels:
            publish(channel, _send)
    else:
        for channel in channels:
            _send(channel, kind, data)


def _send(channel: str, kind: str, data: str | StoredText) -> None:
    send_event(channel, kind, data, json_encode=False)


# A server that forks its workers takes no thread along.
os.register_at_fork(after_in_child=partial(get_sender.cache_clear))
