"""Readers: from any event id to the live end, without a loss, a repetition or a busy loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from django.db.models import F

from llmstream import readers
from llmstream.database import run_db
from llmstream.events import TEXT_DELTA, EventId, WireEvent, delta
from llmstream.exceptions import NotFound
from llmstream.formats import WireFormat
from llmstream.generations.endings import stop
from llmstream.hub import Hub
from llmstream.log.group import Write, commit
from llmstream.log.rows import Draft, Row
from llmstream.models import Conversation, Generation
from llmstream.readers import Reader, Start, follow_from, resume
from tests.support import ask, changed, conversation, stored, types, until, within

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def encode_row(row: Row, event_id: str) -> bytes:
    """Encode a stored event as a line of JSON."""
    return orjson.dumps({"id": event_id, **orjson.loads(row.data)}) + b"\n"


def encode_event(conversation: str, event: WireEvent, event_id: str | None) -> bytes:
    """Encode any other event as a line of JSON."""
    return orjson.dumps({"id": event_id, **event}) + b"\n"


LINES: WireFormat[bytes] = WireFormat(encode_row, encode_event, b"".join)


def reader(hub: Hub, start: Start) -> Reader[bytes]:
    """Return a reader of lines of JSON."""
    return Reader(hub, start, LINES)


def events(body: bytes) -> list[dict[str, Any]]:
    """Return the events of what a reader sent."""
    return [orjson.loads(line) for line in body.splitlines()]


async def news(chunks: AsyncGenerator[bytes | None, None]) -> bytes:
    """Return the next chunk that is not empty."""
    while not (chunk := await anext(chunks)):
        pass
    return chunk


async def collect(chunks: AsyncGenerator[bytes | None, None], count: int) -> list[dict[str, Any]]:
    """Return the next ``count`` events or more."""
    body = b""
    async with asyncio.timeout(10):
        while body.count(b"\n") < count:
            if chunk := await anext(chunks):
                body += chunk
    return events(body)


def answered(pieces: int = 3) -> Generation:
    """Return a generation that has said ``pieces`` things and goes on."""
    generation = ask(conversation()).generation
    for number in range(pieces):
        say(generation, f"{number} ")
    return generation


def say(generation: Generation, text: str) -> None:
    """Let a running generation say something."""
    message = generation.message.public_id
    draft = Draft.of(delta(TEXT_DELTA, message, generation.public_id, 0, text), generation.pk)
    before = Generation.objects.get(pk=generation.pk)
    assert not commit([Write(before.conversation_id, generation.pk, before.fence, [draft], 0)])


def at(conversation: Conversation, seq: int, epoch: int = 0) -> str:
    """Return the id of a position."""
    return str(EventId(conversation.public_id, epoch or conversation.epoch, seq))


def fresh(generation: Generation) -> Conversation:
    """Return the generation's conversation as it is now."""
    return Conversation.objects.get(pk=generation.conversation_id)


# The resume table of the design, row by row.


def test_nothing_gets_the_snapshot_and_its_id() -> None:
    owner = fresh(answered())
    start = resume(owner, None)
    assert start is not None
    ((snapshot, event_id),) = start.preface
    assert (snapshot["type"], event_id, start.seq) == ("snapshot", at(owner, owner.head), owner.head)
    assert snapshot["last_event_id"] == event_id
    assert snapshot["messages"][-1]["parts"] == [{"type": "text", "text": "0 1 2 "}]


def test_an_id_behind_the_head_gets_what_follows_it() -> None:
    owner = fresh(answered())
    start = resume(owner, at(owner, 2))
    assert start == follow_from(owner, 2)


def test_the_head_gets_only_what_is_new() -> None:
    owner = fresh(answered())
    start = resume(owner, at(owner, owner.head))
    assert start is not None
    assert (start.seq, start.preface) == (owner.head, ())


def test_the_terminal_id_of_a_finished_generation_gets_nothing() -> None:
    generation = stop(answered().pk)
    owner = fresh(generation)
    assert generation.end_seq is not None
    assert resume(owner, at(owner, generation.end_seq), generation) is None
    assert resume(owner, at(owner, generation.end_seq - 1), generation) is not None
    assert resume(owner, at(owner, generation.end_seq)) is not None


def test_past_the_end_of_a_generation_gets_nothing_either() -> None:
    generation = stop(answered().pk)
    ask(fresh(generation))
    owner = fresh(generation)
    assert resume(owner, at(owner, owner.head), Generation.objects.get(pk=generation.pk)) is None


@pytest.mark.parametrize(
    ("reason", "position"),
    [
        ("ahead", lambda owner: at(owner, owner.head + 1)),
        ("epoch", lambda owner: at(owner, 1, 7)),
        ("mismatch", lambda owner: at(conversation(), 0)),
        ("mismatch", lambda owner: f"{'x' * 22}.1.000000000001"),
        ("malformed", lambda owner: "rubbish"),
        ("malformed", lambda owner: at(owner, 1) + "x"),
        ("malformed", lambda owner: "\0\ud800\r\n" * 100),
        ("malformed", lambda owner: "9" * 10_000),
    ],
)
def test_an_id_that_cannot_be_served_gets_a_reset_and_a_snapshot(reason: str, position: Any) -> None:
    generation = answered()
    owner = fresh(generation)
    for limit in (None, generation):
        start = resume(owner, position(owner), limit)
        assert start is not None
        (reset, no_id), (snapshot, event_id) = start.preface
        assert (reset, no_id) == ({"type": "reset", "reason": reason}, None)
        assert (snapshot["type"], event_id) == ("snapshot", at(owner, owner.head))


def test_an_id_of_another_conversation_tells_nothing_about_it() -> None:
    owner = fresh(answered())
    known, unknown = resume(owner, at(conversation(), 0)), resume(owner, f"{'0' * 22}.1.000000000000")
    assert known == unknown


def test_a_finished_generation_begins_just_before_its_end() -> None:
    generation = stop(answered().pk)
    owner = fresh(generation)
    start = resume(owner, None, generation)
    assert start is not None
    assert generation.end_seq is not None
    assert start.seq == generation.end_seq - 1
    snapshot = start.preface[0][0]
    assert snapshot["messages"][-1]["parts"][0]["text"] == "0 1 2 "
    assert snapshot["messages"][-1]["status"] == "running"


# Reading.


async def test_replay_in_pages_then_live(hub: Hub) -> None:
    generation = await run_db(answered, 20)
    owner = await run_db(fresh, generation)
    with changed(PAGE_BYTES=300):
        async with aclosing(reader(hub, follow_from(owner, 0)).chunks()) as chunks:
            replayed = await collect(chunks, 4)
            while replayed[-1]["id"] != at(owner, owner.head):
                replayed += await collect(chunks, 1)
            await run_db(say, generation, "live")
            await hub.poll(0.0)
            replayed += await collect(chunks, 1)
    ids = [event["id"] for event in replayed]
    assert ids == sorted(set(ids))
    assert types(replayed)[:3] == ["message-created", "message-created", "generation-start"]
    text = "".join(event["delta"] for event in replayed if event["type"] == TEXT_DELTA)
    assert text == "".join(f"{number} " for number in range(20)) + "live"


async def test_from_every_position_the_rest_and_nothing_else(hub: Hub) -> None:
    generation = await run_db(answered, 4)
    await run_db(stop, generation.pk)
    owner = await run_db(fresh, generation)
    rows = await run_db(stored, owner)
    for seq in range(owner.head):
        async with aclosing(reader(hub, follow_from(owner, seq)).chunks()) as chunks:
            got = await collect(chunks, 1)
            while got[-1]["id"] != at(owner, owner.head):
                got += await collect(chunks, 1)
        rest = rows[seq:]
        assert "".join(event.get("delta", "") for event in got) == "".join(event.get("delta", "") for event in rest)
        assert [t for t in types(got) if t != TEXT_DELTA] == [t for t in types(rest) if t != TEXT_DELTA]


async def test_a_generation_s_reader_gets_that_one_alone_and_ends_with_it(hub: Hub) -> None:
    generation = await run_db(answered)
    owner = await run_db(fresh, generation)
    await run_db(stop, generation.pk)
    other = (await run_db(ask, owner, "again")).generation
    await run_db(say, other, "other")
    made = reader(hub, follow_from(owner, 0, generation))
    async with asyncio.timeout(10):
        body = b"".join([chunk or b"" async for chunk in made.chunks()])
    got = events(body)
    assert {event["generation"] for event in got} == {generation.public_id}
    assert types(got)[-1] == "message-end"
    assert made.ended
    assert not hub.topics


async def test_a_reader_learns_of_deletion(hub: Hub) -> None:
    owner = await run_db(fresh, await run_db(answered))
    async with aclosing(reader(hub, follow_from(owner, owner.head)).chunks()) as chunks:
        waiting = asyncio.ensure_future(news(chunks))
        await until(lambda: hub.topics and hub.topics[owner.pk].head is not None)
        await run_db(Conversation.objects.filter(pk=owner.pk).delete)
        await hub.poll(0.0)
        with pytest.raises(NotFound):
            await within(waiting)
    assert not hub.topics


async def test_a_slow_reader_reads_pages_and_loses_nothing(hub: Hub) -> None:
    generation = await run_db(answered, 0)
    owner = await run_db(fresh, generation)
    with changed(TAIL_BYTES=1_000):
        async with aclosing(reader(hub, follow_from(owner, owner.head)).chunks()) as chunks:
            waiting = asyncio.ensure_future(news(chunks))
            await until(lambda: hub.topics and hub.topics[owner.pk].head is not None)
            for number in range(30):
                await run_db(say, generation, f"{number} ")
                await hub.poll(0.0)
                want = owner.head + number + 1
                await until(lambda: hub.topics[owner.pk].head == want)  # noqa: B023  awaited here
            got = events(await within(waiting))
            assert (hub.topics[owner.pk].tail or 0) > owner.head + 1
            while got[-1]["id"] != at(owner, owner.head + 30):
                got += await collect(chunks, 1)
    assert "".join(event["delta"] for event in got) == "".join(f"{number} " for number in range(30))


async def test_a_new_epoch_resets_the_reader_once(hub: Hub) -> None:
    generation = await run_db(answered)
    owner = await run_db(fresh, generation)
    async with aclosing(reader(hub, follow_from(owner, owner.head)).chunks()) as chunks:
        waiting = asyncio.ensure_future(news(chunks))
        await until(lambda: hub.topics and hub.topics[owner.pk].head is not None)
        await run_db(Conversation.objects.filter(pk=owner.pk).update, epoch=F("epoch") + 1)
        await hub.poll(0.0)
        reset, snapshot = events(await within(waiting))
        assert (reset["type"], reset["reason"]) == ("reset", "epoch")
        assert (snapshot["type"], snapshot["id"]) == ("snapshot", at(owner, owner.head, 2))
        await run_db(say, generation, "on")
        await hub.poll(0.0)
        (live,) = await collect(chunks, 1)
        assert (live["delta"], live["id"]) == ("on", at(owner, owner.head + 1, 2))


async def test_a_reader_ahead_of_the_hub_s_epoch_does_not_loop(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = await run_db(fresh, await run_db(answered))
    topic = hub.follow(owner.pk, owner.public_id, owner.epoch)
    await until(lambda: topic.head is not None)
    await run_db(Conversation.objects.filter(pk=owner.pk).update, epoch=F("epoch") + 1)
    start = await run_db(resume, await run_db(Conversation.objects.get, pk=owner.pk), None)
    assert start is not None
    restarts = 0

    def counted(conversation: int, generation: int | None, reason: str) -> Start:
        nonlocal restarts
        restarts += 1
        return restart(conversation, generation, reason)

    restart = readers.restart
    monkeypatch.setattr(readers, "restart", counted)
    async with aclosing(reader(hub, start).chunks()) as chunks:
        with pytest.raises(TimeoutError):
            await collect_for(chunks, 0.3)
    hub.unfollow(topic)
    assert restarts <= 2


async def collect_for(chunks: AsyncGenerator[bytes | None, None], seconds: float) -> None:
    """Read for some time."""
    async with asyncio.timeout(seconds):
        async for _ in chunks:
            await asyncio.sleep(0)


async def test_a_generation_that_a_new_epoch_took_away_is_not_found(hub: Hub) -> None:
    generation = await run_db(answered)
    owner = await run_db(fresh, generation)
    async with aclosing(reader(hub, follow_from(owner, owner.head, generation)).chunks()) as chunks:
        waiting = asyncio.ensure_future(news(chunks))
        await until(lambda: hub.topics and hub.topics[owner.pk].head is not None)
        await run_db(Generation.objects.filter(pk=generation.pk).delete)
        await run_db(Conversation.objects.filter(pk=owner.pk).update, epoch=F("epoch") + 1)
        await hub.poll(0.0)
        with pytest.raises(NotFound):
            await within(waiting)


async def test_a_reader_begins_before_the_head_is_known(hub: Hub) -> None:
    generation = await run_db(answered)
    owner = await run_db(fresh, generation)
    async with aclosing(reader(hub, follow_from(owner, 0)).chunks()) as chunks:
        got = await collect(chunks, 4)
    assert got[-1]["delta"] == "0 1 2 "


async def test_a_nudge_without_news_yields_an_empty_chunk(hub: Hub) -> None:
    owner = await run_db(fresh, await run_db(answered))
    made = reader(hub, follow_from(owner, owner.head))
    async with aclosing(made.chunks()) as chunks:
        assert await anext(chunks) == b""  # no preface
        assert await anext(chunks) is None  # the head became known
        waiting = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        made.nudge()
        assert await within(waiting) is None
