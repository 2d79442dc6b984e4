"""Compaction: whoever comes, from wherever, at whatever moment, ends with the same text."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from llmstream import snapshot
from llmstream.answer import Answer
from llmstream.database import close_executor, run_db
from llmstream.events import (
    REASONING_DELTA,
    RESET,
    SNAPSHOT,
    STEER,
    TEXT_DELTA,
    TOOL_CALL,
    TOOL_PROGRESS,
    TOOL_RESULT,
    EventId,
)
from llmstream.hub import Hub
from llmstream.log import compaction, reading
from llmstream.log.compaction import compact
from llmstream.log.reading import read_rows
from llmstream.log.rows import Batch
from llmstream.models import Conversation, Generation, Message
from llmstream.readers import Reader, resume
from llmstream.recording import record
from tests.support import ask, changed, conversation, stored, user
from tests.test_readers import LINES, events

from .telling import Screen, Told, is_inside, no_pause, spoken, told

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

PIECES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=3)
OPS = st.lists(
    st.tuples(
        st.sampled_from([*[TEXT_DELTA] * 6, REASONING_DELTA, "tool", TOOL_PROGRESS, STEER, "other"]),
        PIECES,
    ),
    min_size=8,
    max_size=25,
)
#: How many of each; ``LLMSTREAM_COMPACTION`` sets it.
EXAMPLES = int(os.environ.get("LLMSTREAM_COMPACTION", "25"))
#: Steps of compaction before each of a reader's queries.
MOMENTS = st.lists(st.integers(0, 9), max_size=6)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a few rows be many."""
    monkeypatch.setattr(compaction, "_ROWS_PER_STEP", 3)
    monkeypatch.setattr(reading, "_ROWS_PER_READ", 2)
    yield
    close_executor()


def steps(generation: Generation, number: int) -> None:
    """Let compaction break off after some steps."""

    class Enough(Exception):
        pass

    left = iter(range(number - 1))

    def pause(_: float) -> None:
        if next(left, None) is None:
            raise Enough

    if number:
        with suppress(Enough):
            compact(generation, pause)


@dataclass
class Meanwhile:
    """Compacts a little before each query of a reader."""

    generations: list[Generation]
    moments: list[int]

    def read_rows(self, *args: Any, **kwargs: Any) -> Any:
        """Compact, then read."""
        number = self.moments.pop() if self.moments else 0
        steps(self.generations[len(self.moments) % 2], number)
        return read_rows(*args, **kwargs)


async def follow(hub: Hub, start: Any, screen: Screen, head: int) -> list[int]:
    """Show what a reader sends up to the head or its end; return the positions of the ids in their order."""
    reader = Reader(hub, start, LINES)
    ids: list[int] = []
    async with asyncio.timeout(10), aclosing(reader.chunks()) as chunks:
        async for chunk in chunks:
            for event in events(chunk or b""):
                screen.take(event)
                if event["id"]:
                    position = EventId.parse(event["id"])
                    assert position
                    ids.append(position.seq)
            if ids[-1:] == [head] or (not ids and start.seq == head):
                break
    await asyncio.gather(*hub._tasks)
    return ids


@pytest.mark.timeout(120 + EXAMPLES)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # An example takes too long to look for a smaller one.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(
    ops=OPS,
    before=MOMENTS,
    moments=MOMENTS,
    place=st.integers(4, 30),
    client=st.sampled_from(["conversation", "generation", "other"]),
    stale=st.booleans(),
)
def test_readers_from_anywhere_end_with_the_same_text(
    ops: list[tuple[str, str]], before: list[int], moments: list[int], place: int, client: str, stale: bool
) -> None:
    pair = told(ops)
    owner = Conversation.objects.get(pk=pair[0].conversation.pk)
    chosen = {"generation": pair[0], "other": pair[1]}.get(client)
    found = Generation.objects.select_related("conversation", "message")
    followed = found.get(pk=chosen.generation.pk) if chosen else None
    generations = [Generation.objects.get(pk=sent.generation.pk) for sent in pair]
    place, head = place % (owner.head + 1), owner.head
    screen = Screen()
    for event in stored(owner):
        if event["seq"] <= place and (followed is None or event["generation"] == followed.public_id):
            screen.take(event)
    for number, count in enumerate(before):
        steps(generations[number % 2], count)
    if stale:
        # Found before the answer ended, and shown afterwards.
        owner.head, asked = place, None
        if followed and place < (followed.end_seq or 0):
            followed.end_seq = None
    else:
        asked = str(EventId(owner.public_id, owner.epoch, place))
    meanwhile = Meanwhile(generations, moments)
    with pytest.MonkeyPatch.context() as patch, changed(PAGE_BYTES=200):
        patch.setattr(reading, "read_rows", meanwhile.read_rows)
        patch.setattr(snapshot, "read_rows", meanwhile.read_rows)
        start = resume(owner, asked, followed)
        if start is None:
            assert followed
            assert place >= (followed.end_seq or 0) > 0
            return
        last = followed and Generation.objects.get(pk=followed.pk).end_seq
        ids = asyncio.run(follow(Hub(), start, screen, last or head))
    assert ids == sorted(set(ids))
    assert stale or all(seq > place for seq in ids)
    for message in Message.objects.filter(generations__in=[followed] if followed else generations):
        expected = Screen()
        expected.messages[message.public_id] = message.parts
        assert screen.shows(message.public_id) == expected.shows(message.public_id)


def test_one_row_is_left_of_each_part_and_the_newest_progress_of_each_call() -> None:
    owner, generation = spoken()
    before = stored(owner)
    assert compact(generation, no_pause) == 2 + 4 + 1 + 2
    mine = [event for event in stored(owner) if event["generation"] == generation.public_id]
    assert [(event["type"], event.get("delta", event.get("progress"))) for event in mine[3:-2]] == [
        (REASONING_DELTA, "Let me see. "),
        (TEXT_DELTA, "One two three four five "),
        (TOOL_CALL, None),
        (TOOL_PROGRESS, "3"),
        (TOOL_RESULT, None),
        (TEXT_DELTA, "six seven"),
    ]
    # The others are where they were.
    known = {event["seq"]: event for event in before}
    assert all(event["type"] == known[event["seq"]]["type"] for event in stored(owner))
    assert Generation.objects.get(pk=generation.pk).compacted_at
    assert Answer.from_rows(read_rows(owner.pk, 0), generation.pk).parts == generation.message.parts
    assert compact(generation, no_pause) == 0


def test_from_every_position_the_same_text_and_a_reset_only_where_it_is_needed() -> None:
    owner, generation = spoken(alone=True)
    shown = [Screen() for _ in range(owner.head)]
    for place, screen in enumerate(shown):
        for event in stored(owner):
            if event["seq"] <= place:
                screen.take(event)
    compact(generation, no_pause)
    for place, screen in enumerate(shown):
        start = resume(owner, str(EventId(owner.public_id, owner.epoch, place)))
        asyncio.run(follow(Hub(), start, screen, owner.head))
        assert screen.resets == (["expired"] if is_inside(place, owner) else [])
        assert screen.shows(generation.message.public_id) == shown[0].shows(generation.message.public_id)


def test_a_reader_whose_news_are_in_memory_shows_nothing_twice() -> None:
    owner, generation = spoken()
    head, place = owner.head, next(row.seq for row in read_rows(owner.pk, 0) if b'"two "' in row.data)
    news = Batch(owner.pk, owner.epoch, read_rows(owner.pk, place))
    compact(generation, no_pause)
    # Found before the end, and shown after compaction.
    owner.head = place
    screen = Screen()

    async def read() -> None:
        hub = Hub()
        topic = hub.follow(owner.pk, owner.public_id, owner.epoch)
        await asyncio.gather(*hub._tasks)
        topic.jump(place, owner.epoch)
        assert topic.publish(news)
        await follow(hub, await run_db(resume, owner, None), screen, head)

    asyncio.run(read())
    expected = Screen()
    expected.messages[generation.message.public_id] = generation.message.parts
    assert screen.shows(generation.message.public_id) == expected.shows(generation.message.public_id)


def test_a_hub_that_has_fallen_behind_leaves_compacted_rows_to_the_readers() -> None:
    owner, generation = spoken()
    place = next(row.seq for row in read_rows(owner.pk, 0) if b'"two "' in row.data)
    compact(generation, no_pause)

    async def read() -> tuple[int | None, int | None]:
        hub = Hub()
        topic = hub.follow(owner.pk, owner.public_id, owner.epoch)
        await asyncio.gather(*hub._tasks)
        topic.jump(place, owner.epoch)
        hub.announce(owner.pk, owner.epoch, owner.head)
        await asyncio.wait_for(asyncio.gather(*hub._tasks), 10)
        return topic.head, topic.tail

    assert asyncio.run(read()) == (owner.head, owner.head)


def test_a_long_poll_from_inside_begins_anew(client: Client) -> None:
    owner, generation = spoken()
    client.force_login(user())
    compact(generation, no_pause)
    place = next(place for place in range(owner.head) if is_inside(place, owner))

    def poll(after: str) -> dict[str, Any]:
        path = f"/llmstream/conversations/{owner.public_id}/events/"
        answer: dict[str, Any] = client.get(path, {"after": after}, headers={"Accept": "application/json"}).json()
        return answer

    got = poll(str(EventId(owner.public_id, owner.epoch, place)))
    assert [event["type"] for event in got["events"]] == [RESET, SNAPSHOT]
    assert got["events"][0]["reason"] == "expired"
    assert poll(got["last_event_id"])["events"] == []


def test_a_recording_that_is_being_read_has_the_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmstream.recording._PER_QUERY", 3)
    owner, generation = spoken()
    for place in range(1, 20):
        Generation.objects.filter(pk=generation.pk).update(compacted_at=None)
        lines = record(owner, generation)
        got = [next(lines) for _ in range(place)] if place < 15 else []
        compact(generation, no_pause)
        got += lines
        text = "".join(item["event"]["delta"] for item in got if item["event"]["type"] == TEXT_DELTA)
        assert text == generation.message.text
        owner, generation = spoken()


def test_what_has_not_ended_stays_as_it_is() -> None:
    sent = ask(conversation())
    teller = Told(sent, sent)
    for piece in "abc":
        teller.tell(TEXT_DELTA, piece)
    before = stored(sent.conversation)
    with pytest.raises(ValueError, match="not ended"):
        compact(Generation.objects.get(pk=sent.generation.pk), no_pause)
    assert stored(sent.conversation) == before


def test_two_at_once_leave_the_same_as_one() -> None:
    owner, generation = spoken()

    def work() -> int:
        try:
            return compact(generation, no_pause)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        removed = [item.result(30) for item in [threads.submit(work), threads.submit(work)]]
    assert sum(removed) == 9
    assert Answer.from_rows(read_rows(owner.pk, 0), generation.pk).parts == generation.message.parts
    assert [row.first for row in read_rows(owner.pk, 0) if row.type == TEXT_DELTA and row.generation == generation.pk]


def test_a_conversation_that_is_gone_is_no_error() -> None:
    owner, generation = spoken()
    owner.delete()
    assert compact(generation, no_pause) == 0
