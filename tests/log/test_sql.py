"""A flush's statements: the same result from each of them, and positions without a hole whoever writes."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from llmstream.events import encode
from llmstream.generations.endings import stop
from llmstream.log.group import commit
from llmstream.log.reading import read_rows
from llmstream.log.rows import Row
from llmstream.log.sql import FlushSQL, PortableSQL, PostgreSQL, ResponseCursor, SQLiteSQL, flush_sql
from llmstream.log.transaction import locked
from llmstream.models import Conversation, Event, Generation
from tests.log.test_group import write
from tests.support import PATIENCE, ask, check_log, conversation, stored, text_of

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

NATIVE = {"sqlite": SQLiteSQL, "postgresql": PostgreSQL}


@pytest.fixture(params=["portable", "native"])
def sql(request: pytest.FixtureRequest) -> FlushSQL:
    """The statements for any database, and those for this one."""
    return PortableSQL(connection) if request.param == "portable" else flush_sql("default")


def test_each_database_has_its_own_statements() -> None:
    assert type(flush_sql("default")) is NATIVE[connection.vendor]


def test_heads_are_moved_by_their_counts(sql: FlushSQL) -> None:
    found = Conversation.objects.bulk_create(Conversation(head=number) for number in range(1_100))
    Conversation.objects.filter(pk=found[1].pk).update(epoch=3)
    Conversation.objects.filter(pk=found[2].pk).delete()
    counts = {item.pk: number % 7 for number, item in enumerate(found)}
    with transaction.atomic():
        heads = sql.advance(counts)
    assert heads == {
        item.pk: (number + number % 7, 3 if number == 1 else 1) for number, item in enumerate(found) if number != 2
    }
    assert dict(Conversation.objects.values_list("pk", "head")) == {pk: head for pk, (head, _) in heads.items()}


def test_fences_are_those_of_running_generations(sql: FlushSQL) -> None:
    running, ended, first = ask(conversation()), ask(conversation()), ask(conversation())
    queued = ask(first.conversation, busy="queue")
    stop(ended.generation.pk)
    Generation.objects.filter(pk=running.generation.pk).update(fence=5)
    asked = [sent.generation.pk for sent in (running, ended, queued)]
    with transaction.atomic():
        assert sql.fences([*asked, 10**9]) == {running.generation.pk: 5}
        assert sql.fences([]) == {}


def test_cursors_are_those_of_their_generations(sql: FlushSQL) -> None:
    one, two, other = ask(conversation()), ask(conversation()), ask(conversation())
    cursors = {one.generation.pk: ResponseCursor("resp_'1", "17"), two.generation.pk: ResponseCursor("\u00fc%s", "")}
    with transaction.atomic():
        sql.follow(cursors | {10**9 + number: ResponseCursor("", "") for number in range(1_200)})
    stored_cursors = dict(Generation.objects.values_list("pk", "provider_cursor"))
    assert stored_cursors == {one.generation.pk: "17", two.generation.pk: "", other.generation.pk: ""}
    assert Generation.objects.get(pk=one.generation.pk).provider_response_id == "resp_'1"
    assert Generation.objects.get(pk=two.generation.pk).provider_response_id == "\u00fc%s"


def test_rows_come_out_as_they_went_in(sql: FlushSQL) -> None:
    one, two = conversation(), conversation()
    texts = ["", 'quotes " and \\', "\u00fc\u2028\U0001f600", "{}%s", "\n\t\x7f"]
    rows = {
        one.pk: [Row(seq, "usage", None, encode({"type": "usage", "n": seq})) for seq in range(1, 1_203)],
        two.pk: [Row(seq, "text-delta", 7, encode({"delta": text})) for seq, text in enumerate(texts, 1)],
    }
    now = timezone.now()
    with transaction.atomic():
        sql.insert(rows, now)
    for pk, wanted in rows.items():
        got = read_rows(pk, 0)
        assert [row[:3] for row in got] == [row[:3] for row in wanted]
    assert [event["delta"] for event in stored(two)] == texts
    assert [event["n"] for event in stored(one)] == list(range(1, 1_203))
    assert set(Event.objects.values_list("created_at", flat=True)) == {now}


def test_a_lock_tells_what_the_log_needs(sql: FlushSQL) -> None:
    owner = conversation(model="default", head=4)
    with transaction.atomic():
        found = sql.lock(owner.pk)
        assert found is not None
        assert (found.pk, found.public_id, found.model, found.head, found.epoch) == (
            owner.pk,
            owner.public_id,
            "default",
            4,
            1,
        )
        found.head = 9
        now = timezone.now()
        sql.move(found, now)
        assert sql.lock(10**9) is None
    owner.refresh_from_db()
    assert (owner.head, owner.updated_at) == (9, now)


def at_once(*works: Any) -> None:
    """Do things on threads of their own at the same time; raise what went wrong."""
    errors: list[BaseException] = []
    go = threading.Barrier(len(works))

    def run(work: Any) -> None:
        try:
            go.wait(PATIENCE)
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert not any(thread.is_alive() for thread in threads)


def test_positions_have_no_hole_whoever_writes() -> None:
    sents = [ask(conversation()) for _ in range(2)]

    def append(number: int) -> None:
        for _ in range(15):
            with locked(sents[number % 2].conversation.pk) as log:
                for _ in range(number % 3 + 1):
                    log.append({"type": "usage", "by": number})

    def flush(number: int) -> None:
        # Both conversations in one transaction, in different orders.
        for turn in range(15):
            writes = [write(sent, f"[{number}.{turn}]") for sent in (sents if number % 2 else sents[::-1])]
            assert not commit(writes)

    at_once(*[lambda n=n: append(n) for n in range(4)], *[lambda n=n: flush(n) for n in range(4)])
    for sent in sents:
        text = text_of(check_log(sent.conversation))
        for number in range(4):
            positions = [text.index(f"[{number}.{turn}]") for turn in range(15)]
            assert positions == sorted(positions)


def test_a_tailing_reader_never_passes_over_what_is_committed_later() -> None:
    owner = conversation()
    seen: list[int] = []

    def append() -> None:
        for _ in range(20):
            with locked(owner.pk) as log:
                log.append({"type": "usage"})
                log.append({"type": "usage"})

    def tail() -> None:
        while len(seen) < 120:
            seen.extend(row.seq for row in read_rows(owner.pk, seen[-1] if seen else 0))

    at_once(append, append, append, tail)
    assert seen == list(range(1, 121))
