"""The process's place where committed events meet their readers.

One ``Topic`` per followed conversation, however many readers it has. It keeps the newest events and their encoded
frames, so an event is encoded once and a reader costs one lookup a wake-up. A reader has no queue: it has a position,
and one that falls behind the topic's tail reads the database.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from django.db import DatabaseError

from .conf import get_settings
from .database import run_db
from .events import MESSAGE_END, EventId
from .formats import WireFormat
from .log.reading import read_heads, read_rows
from .log.rows import Batch, Row

T = TypeVar("T")

#: A hole longer than this is left to the readers, who page through the database.
_FILL_ROWS = 1_000
#: Conversations whose newest batches are remembered, until the stream that a prompt asked for begins, and how many
#: bytes of each.
_REMEMBERED = 1_024
_REMEMBERED_BYTES = 4_096
#: Encoded chunks kept per topic: readers who keep up are at one or two positions.
_KEPT_CHUNKS = 32


class Chunk(NamedTuple):
    """What a reader gets: encoded events in its format, its new position, and whether its generation has ended."""

    body: Any
    seq: int
    ended: bool


class Topic:
    """The tail of one conversation's log."""

    def __init__(self, conversation: int, public_id: str, epoch: int) -> None:
        self.conversation = conversation
        self.public_id = public_id
        self.epoch = epoch
        #: None until the database has been asked; batches that arrive before are held back.
        self.head: int | None = None
        self.gone = False
        self.readers = 0
        #: Called with each ephemeral message: what is shown at once and never stored.
        self.listeners: set[Callable[[dict[str, Any]], None]] = set()
        self.heard = monotonic()
        self.fetching = False
        self.incomplete = False
        self._early: list[Batch] = []
        #: ``Row``s as plain tuples, position first: the garbage collector looks at those once, and at each ``Row`` in
        #: every full collection, which takes the longer the more answers run.
        self._rows: deque[tuple[int, str, int | None, bytes, int | None]] = deque()
        self._size = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._chunks: dict[tuple[int, int | None, WireFormat[Any]], Chunk] = {}
        self._shared: dict[Hashable, asyncio.Task[Any]] = {}

    @property
    def tail(self) -> int | None:
        """Positions from here on are served from memory."""
        return self._rows[0][0] - 1 if self._rows else self.head

    def start(self, head: int, epoch: int) -> None:
        """Begin the tail at the head that the database told."""
        self.head, self.epoch = head, epoch
        early, self._early = self._early, []
        for batch in sorted(early, key=lambda batch: (batch.epoch, batch.rows[0].seq)):
            self.publish(batch)
        self.wake()

    def publish(self, batch: Batch) -> bool:
        """Take a committed batch; return False when it does not follow the head, so that the hole must be read."""
        if self.head is None:
            self._early.append(batch)
            return True
        if batch.epoch < self.epoch:
            return True
        if batch.epoch > self.epoch:
            self.jump(batch.rows[-1].seq, batch.epoch)
            return True
        if batch.rows[0].seq > self.head + 1:
            return False
        if fresh := [row for row in batch.rows if row.seq > self.head]:
            self._extend(fresh)
        return True

    def jump(self, head: int, epoch: int) -> None:
        """Forget the tail: too much was missed, or the history is another one."""
        self.head, self.epoch = head, epoch
        self._rows.clear()
        self._size = 0
        self._chunks.clear()
        self.wake()

    def close(self) -> None:
        """Tell the readers that the conversation is gone."""
        self.gone = True
        self.wake()

    def _extend(self, rows: Sequence[Row]) -> None:
        self.heard = monotonic()
        self.head = rows[-1].seq
        self._rows.extend([row[:] for row in rows])
        self._size += sum(len(row.data) for row in rows)
        limit = get_settings().tail_bytes
        # The newest stays however long it is: everybody who keeps up wants it, and would read it from the database.
        while self._size > limit and len(self._rows) > 1:
            self._size -= len(Row(*self._rows.popleft()).data)
        self._chunks.clear()
        self.wake()

    def since(self, seq: int, generation: int | None, wire: WireFormat[Any]) -> Chunk | None:
        """Return what follows ``seq``, of one generation or of all; None when ``seq`` is behind the tail."""
        if self.head is None or self.tail is None or seq < self.tail:
            return None
        if seq >= self.head:
            return Chunk(None, seq, False)
        key = seq, generation, wire
        if (chunk := self._chunks.get(key)) is None:
            if len(self._chunks) >= _KEPT_CHUNKS:
                self._chunks.clear()
            chunk = self._chunks[key] = self._encode(seq, generation, wire)
        return chunk

    def _encode(self, seq: int, generation: int | None, wire: WireFormat[Any]) -> Chunk:
        head = self.head or seq
        # Counted from the right: readers are near the head, and a deque is quick at its ends.
        rows = [Row(*self._rows[index]) for index in range(seq - head, 0)]
        return encode_rows(rows, head, self.event_id, generation, wire)

    def event_id(self, seq: int) -> str:
        """Print the id of a position in this conversation."""
        return str(EventId(self.public_id, self.epoch, seq))

    def wait(self) -> asyncio.Future[None]:
        """Return a future that is done at the next wake-up; cancelling it disturbs nobody else."""
        # Each reader waits once at a time, so at least half of these were given up.
        if len(self._waiters) > 2 * self.readers + 2:
            self._waiters = [waiter for waiter in self._waiters if not waiter.done()]
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    async def shared(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do work for all readers together that ask for it while it goes on; cancelling one disturbs nobody else."""
        if (task := self._shared.get(key)) is None:
            task = self._shared[key] = asyncio.get_running_loop().create_task(work(), context=contextvars.Context())
            task.add_done_callback(lambda done: self._forget(key, done))
        await asyncio.wait({task})
        found: T = task.result()
        return found

    def _forget(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        del self._shared[key]
        if not done.cancelled():
            done.exception()  # Everybody may have left meanwhile.

    def hear(self, message: dict[str, Any]) -> None:
        """Hand an ephemeral message to the listeners."""
        for listener in list(self.listeners):
            listener(message)

    def wake(self) -> None:
        """Let every waiting reader look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _is_whole(rows: Sequence[Row], head: int) -> bool:
    """Whether the rows follow ``head`` one by one. Compacted ones are left to the readers, who know what they have."""
    return all(row.seq == seq and row.first is None for seq, row in enumerate(rows, head + 1))


def encode_rows(
    rows: Iterable[Row], seq: int, event_id: Callable[[int], str], generation: int | None, wire: WireFormat[Any]
) -> Chunk:
    """Encode rows up to and including the terminal event of ``generation``."""
    frames: list[Any] = []
    for row in rows:
        if generation is not None and row.generation != generation:
            continue
        frames.append(wire.encode_row(row, event_id(row.seq)))
        if generation is not None and row.type == MESSAGE_END:
            return Chunk(wire.join(frames), row.seq, True)
    return Chunk(wire.join(frames), seq, False)


def _size(batch: Batch) -> int:
    return sum(len(row.data) for row in batch.rows)


class Hub:
    """All topics of one event loop.

    ``on_first`` is called with a conversation before its first reader begins, ``on_last`` after its last one has left.
    """

    def __init__(
        self, on_first: Callable[[int], None] = lambda _: None, on_last: Callable[[int], None] = lambda _: None
    ) -> None:
        self.topics: dict[int, Topic] = {}
        self._on_first, self._on_last = on_first, on_last
        self._tasks: set[asyncio.Task[None]] = set()
        #: The newest batches of conversations that nobody follows yet; those that were silent longest come first.
        self._recent: dict[int, tuple[int, deque[Batch]]] = {}

    def follow(self, conversation: int, public_id: str, epoch: int, tail: Batch | None = None) -> Topic:
        """Join the topic of a conversation; every call needs its ``unfollow``.

        The topic is registered before the head is read, so nothing committed in between is missed. With ``tail``, what
        this process has just committed, nothing is read as long as the hub remembers what was published since.
        """
        if (topic := self.topics.get(conversation)) is None:
            topic = self.topics[conversation] = Topic(conversation, public_id, epoch)
            self._on_first(conversation)
            self._begin(topic, tail)
        topic.readers += 1
        return topic

    def unfollow(self, topic: Topic) -> None:
        """Leave a topic; the last reader takes it away."""
        topic.readers -= 1
        if not topic.readers and self.topics.get(topic.conversation) is topic:
            del self.topics[topic.conversation]
            self._on_last(topic.conversation)

    def publish(self, batches: Iterable[Batch]) -> None:
        """Hand committed batches to the topics that are followed here."""
        for batch in batches:
            topic = self.topics.get(batch.conversation)
            if topic is None:
                self._remember(batch)
            elif not topic.publish(batch):
                self._fetch(topic)

    def announce(self, conversation: int, epoch: int, seq: int) -> None:
        """Learn how far a conversation's log goes; what is missing here is read."""
        topic = self.topics.get(conversation)
        if topic is None or topic.head is None or epoch < topic.epoch:
            return
        if epoch > topic.epoch:
            topic.jump(seq, epoch)
        elif seq > topic.head:
            self._fetch(topic)

    async def poll(self, silent_for: float) -> None:
        """Look in the database for events that no batch announced, for topics that have been silent."""
        before = monotonic() - silent_for
        topics = [topic for topic in self.topics.values() if topic.head is None or topic.heard < before]
        if not topics:
            return
        heads = await run_db(read_heads, [topic.conversation for topic in topics])
        for topic in topics:
            if (found := heads.get(topic.conversation)) is None:
                topic.close()
            elif topic.head is None:
                topic.start(*found)
            elif found[1] > topic.epoch:
                topic.jump(*found)
            elif found[0] > topic.head:
                self._fetch(topic)

    def _remember(self, batch: Batch) -> None:
        size, recent = self._recent.pop(batch.conversation, (0, deque[Batch]()))
        size += _size(batch)
        recent.append(batch)
        while size > _REMEMBERED_BYTES and len(recent) > 1:
            size -= _size(recent.popleft())
        self._recent[batch.conversation] = size, recent
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]

    def _begin(self, topic: Topic, tail: Batch | None) -> None:
        _, recent = self._recent.pop(topic.conversation, (0, deque[Batch]()))
        if tail is None or not recent or any(batch.epoch != tail.epoch for batch in recent):
            self._spawn(self._start(topic))
            return
        topic.start(tail.rows[0].seq - 1, tail.epoch)
        for batch in (tail, *recent):
            if not topic.publish(batch):
                self._fetch(topic)

    async def _start(self, topic: Topic) -> None:
        with suppress(DatabaseError):  # the next poll tries again
            heads = await run_db(read_heads, [topic.conversation])
            if (found := heads.get(topic.conversation)) is None:
                topic.close()
            elif topic.head is None:
                topic.start(*found)

    def _fetch(self, topic: Topic) -> None:
        topic.incomplete = True
        if not topic.fetching:
            topic.fetching = True
            self._spawn(self._fill(topic))

    async def _fill(self, topic: Topic) -> None:
        """Read what lies between the topic's head and the log's."""
        try:
            with suppress(DatabaseError):  # the next batch or poll tries again
                while topic.incomplete and topic.head is not None:
                    topic.incomplete = False
                    await self._read(topic, topic.head)
        finally:
            topic.fetching = False

    async def _read(self, topic: Topic, head: int) -> None:
        rows = await run_db(read_rows, topic.conversation, head, limit=_FILL_ROWS)
        if len(rows) == _FILL_ROWS or not _is_whole(rows, head):
            heads = await run_db(read_heads, [topic.conversation])
            if found := heads.get(topic.conversation):
                topic.jump(*found)
        elif rows:
            self.publish([Batch(topic.conversation, topic.epoch, rows)])

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
