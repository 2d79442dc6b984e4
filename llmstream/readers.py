"""A reader: from wherever a client left off to the live end of the log, in any wire format.

Everything is a position. What lies before the hub's tail is paged from the database, what lies in it comes from memory,
and a reader that falls behind moves from the second to the first by itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple

from .conf import get_settings
from .database import run_db
from .events import RESET, EventId, WireEvent
from .exceptions import NotFound
from .formats import Body, WireFormat
from .hub import Chunk, Hub, Topic, encode_rows
from .log.reading import Page, read_page
from .log.rows import Batch
from .models import Conversation, Generation
from .observers import tell
from .snapshot import SnapshotTorn, snapshot_event


@dataclass(frozen=True, slots=True)
class Start:
    """Where a stream begins: its first events, the position after them, and what it follows.

    ``generation`` limits it to one generation, with whose terminal event it ends. ``tail`` is what this process has
    just committed there, so that nothing needs to be read.
    """

    conversation: int
    public_id: str
    epoch: int
    generation: int | None
    seq: int
    preface: tuple[tuple[WireEvent, str | None], ...] = ()
    tail: Batch | None = None

    def misses(self, page: Page) -> bool:
        """Whether the page cannot continue what a reader of this stream has, since it was compacted meanwhile."""
        return bool(page.torn) if self.generation is None else self.generation in page.torn


def resume(conversation: Conversation, last_event_id: str | None, generation: Generation | None = None) -> Start | None:
    """Find where a client's stream begins; None when it has everything and its generation has ended.

    An id that cannot be served leads to a ``reset`` and a ``snapshot``, never to an error. Synchronous ORM work.
    """
    if last_event_id is None:
        return _fresh(conversation, generation)
    position = EventId.parse(last_event_id)
    if position is None or (reason := _unusable(conversation, position)):
        return _fresh(conversation, generation, reset="malformed" if position is None else reason)
    if generation is not None and generation.end_seq is not None and position.seq >= generation.end_seq:
        return None
    return _start(conversation, generation, position.seq)


def go_on(conversation: Conversation, last_event_id: str) -> Start | None:
    """Begin right after a client's position; None when that cannot be served, which takes ``resume``."""
    position = EventId.parse(last_event_id)
    if position is None or _unusable(conversation, position):
        return None
    return _start(conversation, None, position.seq)


def follow_from(
    conversation: Conversation, seq: int, generation: Generation | None = None, tail: Batch | None = None
) -> Start:
    """Begin after a known position, without a snapshot; ``tail`` is what this process has just committed there."""
    return replace(_start(conversation, generation, seq), tail=tail)


def _unusable(conversation: Conversation, position: EventId) -> str | None:
    if position.conversation != conversation.public_id:
        return "mismatch"
    if position.epoch != conversation.epoch:
        return "epoch"
    return "ahead" if position.seq > conversation.head else None


def _fresh(conversation: Conversation, generation: Generation | None, *, reset: str | None = None) -> Start:
    seq = conversation.head
    if generation is not None and generation.end_seq is not None:
        # Just before the end, so that the terminal event follows the snapshot.
        seq = generation.end_seq - 1
    try:
        snapshot = snapshot_event(conversation, seq, generation)
    except SnapshotTorn:
        return restart(conversation.pk, generation.pk if generation else None, reset)
    preface: list[tuple[WireEvent, str | None]] = [(snapshot, snapshot["last_event_id"])]
    if reset:
        tell("reset", reset)
        preface.insert(0, ({"type": RESET, "reason": reset}, None))
    return _start(conversation, generation, seq, tuple(preface))


def _start(
    conversation: Conversation,
    generation: Generation | None,
    seq: int,
    preface: tuple[tuple[WireEvent, str | None], ...] = (),
) -> Start:
    pk = generation.pk if generation else None
    return Start(conversation.pk, conversation.public_id, conversation.epoch, pk, seq, preface)


def restart(conversation: int, generation: int | None, reason: str | None) -> Start:
    """Begin anew, with a ``reset`` that gives the reason; raises NotFound when there is nothing left to read."""
    found = Conversation.objects.filter(pk=conversation).first()
    if found is None:
        raise NotFound
    followed = Generation.objects.filter(pk=generation).first() if generation else None
    if generation and followed is None:
        raise NotFound
    return _fresh(found, followed, reset=reason)


class _BeginAnew(Exception):
    """What a reader has shown is no longer the beginning of what is stored."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Replayed(NamedTuple):
    """A page as all readers get it who are at one position, how many rows it has, and whether they cannot go on."""

    chunk: Chunk
    rows: int
    torn: bool


async def _replay(topic: Topic, start: Start, seq: int, wire: WireFormat[Any]) -> _Replayed:
    page = await run_db(read_page, start.conversation, seq, max_bytes=get_settings().page_bytes)
    chunk = encode_rows(page.rows, page.seq, topic.event_id, start.generation, wire)
    return _Replayed(chunk, len(page.rows), start.misses(page))


class Reader(Generic[Body]):
    """Reads one conversation, or one generation of it, in one wire format."""

    def __init__(self, hub: Hub, start: Start, wire: WireFormat[Body]) -> None:
        self._hub = hub
        self._wire = wire
        self._opening: Body | None = None
        self._tail = start.tail
        self._start = self._open(start)
        self._topic: Topic | None = None
        self.ended = False

    async def chunks(self) -> AsyncGenerator[Body | None, None]:
        """Yield encoded events until the generation ends, and None at each wake-up without news.

        What was yielded is not kept: a client may take its time. Raises NotFound when the conversation is deleted.
        """
        start = self._start
        yield self._opened()
        topic = self._topic = self._hub.follow(start.conversation, start.public_id, start.epoch, self._tail)
        self._tail = None
        try:
            seq, epoch = start.seq, start.epoch
            while not self.ended:
                if topic.gone:
                    raise NotFound
                try:
                    chunk = await self._chunk(topic, start, seq, epoch)
                except _BeginAnew as change:
                    start = self._open(await run_db(restart, start.conversation, start.generation, change.reason))
                    seq, epoch = start.seq, start.epoch
                    yield self._opened()
                    continue
                if chunk is not None and chunk.seq > seq:
                    seq, self.ended = chunk.seq, chunk.ended
                    if chunk.body:
                        yield chunk.body
                        continue
                    if chunk.seq < (topic.head or 0):
                        continue
                await topic.wait()
                if topic.head == seq:
                    yield None
        finally:
            self._hub.unfollow(topic)

    async def _chunk(self, topic: Topic, start: Start, seq: int, epoch: int) -> Chunk | None:
        """Return what follows ``seq``, from memory or the database; None while the hub does not know the head."""
        if topic.epoch < epoch:
            # The hub has not heard of our epoch yet.
            topic.jump(seq, epoch)
        if topic.epoch > epoch:
            raise _BeginAnew("epoch")
        chunk = topic.since(seq, start.generation, self._wire)
        if chunk is not None or topic.head is None:
            return chunk
        key = seq, epoch, start.generation, self._wire
        replayed = await topic.shared(key, lambda: _replay(topic, start, seq, self._wire))
        if replayed.torn:
            raise _BeginAnew("expired")
        tell("replayed", replayed.rows)
        return replayed.chunk

    def nudge(self) -> None:
        """Wake the reader without news."""
        if self._topic:
            self._topic.wake()

    def _open(self, start: Start) -> Start:
        """Encode the first events; return the start without them, which a stream keeps for as long as it lasts."""
        encode = self._wire.encode_event
        self._opening = self._wire.join([encode(start.public_id, event, event_id) for event, event_id in start.preface])
        return replace(start, preface=(), tail=None)

    def _opened(self) -> Body | None:
        """Hand the first events out, once."""
        opening, self._opening = self._opening, None
        return opening
