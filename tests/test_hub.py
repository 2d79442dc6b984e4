"""The hub: batches in any order become one tail, and what no batch announced is read from the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest
from django.db.models import F

from llmstream.database import run_db
from llmstream.events import USAGE
from llmstream.formats import WireFormat
from llmstream.hub import Hub, Topic
from llmstream.log.reading import read_rows
from llmstream.log.rows import Batch, Row
from llmstream.log.transaction import locked
from llmstream.models import Conversation
from tests.support import changed, conversation, until, within

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def append(conversation: Conversation, count: int = 1) -> Batch:
    """Append ``count`` events and return them as the batch that the writer would announce."""
    with locked(conversation.pk) as log:
        before = log.conversation.head
        for number in range(count):
            log.append({"type": USAGE, "number": before + number + 1})
    found = Conversation.objects.get(pk=conversation.pk)
    return Batch(found.pk, found.epoch, read_rows(found.pk, before))


def bump(conversation: Conversation) -> None:
    """Begin a new epoch, as a restored backup does."""
    Conversation.objects.filter(pk=conversation.pk).update(epoch=F("epoch") + 1)


def wire(encode_row: Callable[[Row], bytes]) -> WireFormat[bytes]:
    """Return a format of stored events only."""
    return WireFormat(lambda row, _: encode_row(row), lambda *_: b"", b"".join)


#: For the eye, and as long as it is.
plain, whole = wire(lambda row: b"%d " % row.seq), wire(lambda row: row.data)


async def followed(hub: Hub, conversation: Conversation) -> Topic:
    """Return a topic that knows its head."""
    topic = hub.follow(conversation.pk, conversation.public_id, conversation.epoch)
    await until(lambda: topic.head is not None or topic.gone)
    return topic


def seen(topic: Topic, after: int = 0) -> list[int]:
    """Return the positions after ``after`` that the tail holds."""
    chunk = topic.since(after, None, plain)
    assert chunk is not None
    return [int(seq) for seq in (chunk.body or b"").split()]


async def batches(conversation: Conversation, sizes: Iterable[int]) -> list[Batch]:
    """Append a batch of each size."""
    return [await run_db(append, conversation, size) for size in sizes]


async def test_batches_in_order_extend_the_tail(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    hub.publish(await batches(owner, [1, 3, 2]))
    assert seen(topic) == [1, 2, 3, 4, 5, 6]
    assert seen(topic, 4) == [5, 6]


async def test_batches_in_the_wrong_order_come_out_in_the_right_one(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    hub.publish(reversed(await batches(owner, [1, 3, 2])))
    await until(lambda: topic.head == 6)
    assert seen(topic) == [1, 2, 3, 4, 5, 6]


async def test_a_repeated_or_overlapping_batch_changes_nothing(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    first, second = await batches(owner, [2, 2])
    hub.publish([first, second, first, second, Batch(owner.pk, 1, [*first.rows, *second.rows])])
    assert seen(topic) == [1, 2, 3, 4]


async def test_a_lost_batch_is_read_from_the_database(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    _, second = await batches(owner, [2, 2])
    hub.publish([second])
    await until(lambda: topic.head == 4)
    assert seen(topic) == [1, 2, 3, 4]


async def test_a_batch_that_arrives_while_a_hole_is_filled_is_not_lost(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    made = await batches(owner, [1, 1, 1])
    hub.publish([made[2]])
    hub.publish([(await batches(owner, [1]))[0]])
    await until(lambda: topic.head == 4)
    assert seen(topic) == [1, 2, 3, 4]


async def test_what_was_committed_before_the_head_was_known_is_not_lost(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = hub.follow(owner.pk, owner.public_id, owner.epoch)
    made = [Batch(owner.pk, 1, [Row(seq, USAGE, None, b"{}")]) for seq in (1, 2)]
    hub.publish(made)
    assert topic.head is None
    topic.start(0, 1)
    assert seen(topic) == [1, 2]


async def test_early_batches_in_the_wrong_order_need_no_poll(hub: Hub) -> None:
    owner = await run_db(conversation)
    made = await batches(owner, [1, 1])
    topic = hub.follow(owner.pk, owner.public_id, owner.epoch)
    hub.publish(reversed(made))
    topic.start(0, 1)
    await until(lambda: topic.head == 2)


async def test_a_tail_just_committed_needs_no_look_at_the_database(hub: Hub) -> None:
    owner = await run_db(conversation)
    first, second = await batches(owner, [2, 3])
    hub.publish([first, second])
    topic = hub.follow(owner.pk, owner.public_id, owner.epoch, second)
    assert seen(topic, after=2) == [3, 4, 5]
    assert not hub._tasks
    hub.publish(await batches(owner, [1]))
    assert seen(topic, after=2) == [3, 4, 5, 6]


async def test_what_was_published_after_the_tail_needs_none_either(hub: Hub) -> None:
    owner = await run_db(conversation)
    first, *later = await batches(owner, [1, 2, 1])
    hub.publish([first, *later])
    topic = hub.follow(owner.pk, owner.public_id, owner.epoch, first)
    assert seen(topic) == [1, 2, 3, 4]
    assert not hub._tasks


@pytest.mark.parametrize("told", [[0, 2, 1], [0, 2], [2]])
async def test_what_was_told_in_disorder_or_in_part_is_read(hub: Hub, told: list[int]) -> None:
    owner = await run_db(conversation)
    made = await batches(owner, [1, 2, 1])
    hub.publish(made[number] for number in told)
    topic = hub.follow(owner.pk, owner.public_id, owner.epoch, made[0])
    await until(lambda: topic.head == 4)
    assert seen(topic) == [1, 2, 3, 4]


async def test_more_than_the_hub_remembers_is_read(hub: Hub) -> None:
    owner = await run_db(conversation)
    made = await batches(owner, [1, 100, 100])
    hub.publish(made)
    topic = hub.follow(owner.pk, owner.public_id, owner.epoch, made[0])
    assert hub._tasks
    await until(lambda: topic.head == 201)
    assert seen(topic) == list(range(1, 202))


async def test_a_tail_of_another_epoch_or_long_ago_is_not_taken(hub: Hub) -> None:
    owner, other = await run_db(conversation), await run_db(conversation)
    first = await run_db(append, owner)
    hub.publish([first])
    await run_db(bump, owner)
    hub.publish(await batches(owner, [1]))
    topic = hub.follow(owner.pk, owner.public_id, owner.epoch, first)
    await until(lambda: topic.head is not None)
    assert (topic.head, topic.epoch, topic.tail) == (2, 2, 2)
    forgotten, *_ = await batches(other, [1, 1])
    topic = hub.follow(other.pk, other.public_id, other.epoch, forgotten)
    await until(lambda: topic.head is not None)
    assert topic.head == 2


async def test_a_hole_too_long_to_fill_is_left_to_the_readers(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    _, last = await batches(owner, [1_500, 1])
    hub.publish([last])
    await until(lambda: topic.head == 1_501)
    assert topic.since(0, None, plain) is None
    assert seen(topic, 1_501) == []


async def test_the_tail_keeps_the_newest_events_within_its_size(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    with changed(TAIL_BYTES=200):
        hub.publish(await batches(owner, [20]))
    assert topic.tail is not None
    assert 0 < topic.tail < 20
    assert topic.since(0, None, plain) is None
    assert seen(topic, topic.tail) == list(range(topic.tail + 1, 21))


async def test_an_event_larger_than_the_tail_stays_until_the_next_one(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    with changed(TAIL_BYTES=10):
        hub.publish(await batches(owner, [1]))
        assert seen(topic) == [1]
        hub.publish(await batches(owner, [2]))
    assert (topic.tail, topic.head) == (2, 3)
    assert topic.since(1, None, plain) is None
    assert seen(topic, 2) == [3]


async def test_poll_finds_what_another_process_wrote(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    await run_db(append, owner, 3)
    waiter = topic.wait()
    await hub.poll(0.0)
    await within(waiter)
    assert seen(topic) == [1, 2, 3]


async def test_poll_closes_the_topic_of_a_deleted_conversation(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    waiter = topic.wait()
    await run_db(owner.delete)
    await hub.poll(0.0)
    await within(waiter)
    assert topic.gone


async def test_following_a_deleted_conversation_ends_at_once(hub: Hub) -> None:
    owner = await run_db(conversation)
    await run_db(Conversation.objects.filter(pk=owner.pk).delete)
    assert (await followed(hub, owner)).gone


async def test_poll_begins_a_topic_whose_first_look_failed(hub: Hub) -> None:
    owner = await run_db(conversation)
    await run_db(append, owner, 2)
    topic = hub.topics[owner.pk] = Topic(owner.pk, owner.public_id, owner.epoch)
    waiter = topic.wait()
    await hub.poll(60.0)
    await within(waiter)
    assert topic.head == 2


async def test_poll_leaves_topics_alone_that_hear_batches(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    hub.publish(await batches(owner, [1]))
    await run_db(append, owner, 1)
    await hub.poll(60.0)
    assert topic.head == 1


async def test_a_new_epoch_empties_the_tail(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    hub.publish(await batches(owner, [3]))
    await run_db(bump, owner)
    await hub.poll(0.0)
    assert (topic.head, topic.epoch) == (3, 2)
    assert topic.since(0, None, plain) is None


async def test_a_late_batch_of_an_old_epoch_is_ignored(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    (old,) = await batches(owner, [3])
    await run_db(bump, owner)
    hub.publish([await run_db(append, owner, 1)])
    assert (topic.head, topic.epoch) == (4, 2)
    hub.publish([old])
    assert (topic.head, topic.epoch) == (4, 2)


async def test_the_last_reader_takes_the_topic_away(hub: Hub) -> None:
    owner = await run_db(conversation)
    first, second = await followed(hub, owner), await followed(hub, owner)
    assert first is second
    hub.unfollow(first)
    assert hub.topics
    hub.unfollow(second)
    assert not hub.topics
    hub.publish(await batches(owner, [1]))
    assert not hub.topics


async def test_waiters_that_were_given_up_do_not_pile_up(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    for _ in range(100):
        topic.wait().cancel()
        await asyncio.sleep(0)
    assert len(topic._waiters) < 10


async def test_a_cancelled_waiter_disturbs_nobody(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    given_up, waiting = topic.wait(), topic.wait()
    given_up.cancel()
    hub.publish(await batches(owner, [1]))
    await within(waiting)


async def test_an_event_is_encoded_once_for_all_readers(hub: Hub) -> None:
    calls: list[int] = []

    def count(row: Row) -> bytes:
        calls.append(row.seq)
        return b"x"

    counting = wire(count)

    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    hub.publish(await batches(owner, [2]))
    for _ in range(50):
        topic.since(0, None, counting)
    assert calls == [1, 2]


async def test_readers_at_every_position_do_not_fill_the_memory(hub: Hub) -> None:
    owner = await run_db(conversation)
    topic = await followed(hub, owner)
    hub.publish(await batches(owner, [400]))
    for seq in range(topic.tail or 0, 400):
        topic.since(seq, None, whole)
    assert sum(len(chunk.body) for chunk in topic._chunks.values()) < 10 * 32_768
