"""Group commit: one transaction for many generations, each of which may be refused by itself."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection
from django.utils import timezone

from llmstream.events import TEXT_DELTA, delta
from llmstream.generations.endings import stop
from llmstream.generations.prompts import Sent
from llmstream.generations.steering import steer
from llmstream.log.group import Write, WriteRefused, commit, commit_again
from llmstream.log.rows import Batch, Draft
from llmstream.log.sql import ResponseCursor
from llmstream.log.transaction import events_committed
from llmstream.models import Conversation, Event, Generation
from tests.support import ask, check_log, conversation, stored, text_of

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def begun() -> Sent:
    """Return a prompt whose generation runs in a conversation of its own."""
    return ask(conversation())


def write(sent: Sent, *texts: str, fence: int | None = None, before: int = 0, apply: Any = None) -> Write:
    """Return a write of deltas."""
    message, generation = sent.answer.public_id, sent.generation
    drafts = [Draft.of(delta(TEXT_DELTA, message, generation.public_id, 0, text), generation.pk) for text in texts]
    owned = generation.fence if fence is None else fence
    return Write(sent.conversation.pk, generation.pk, owned, drafts, before, apply)


def said(sent: Sent) -> str:
    """Return the text in the log, after checking it."""
    return text_of(check_log(sent.conversation))


def test_writes_of_several_conversations_are_stored_together(django_assert_num_queries: Any) -> None:
    sents = [begun() for _ in range(3)]
    with django_assert_num_queries(5):  # begin, heads, fences, events, commit
        assert commit([write(sent, "a", "b") for sent in sents]) == set()
    assert [said(sent) for sent in sents] == ["ab"] * 3


def followed(sent: Sent, cursor: str, *texts: str, **fields: Any) -> Write:
    """Return a write of deltas that reach as far as a cursor."""
    return replace(write(sent, *texts, **fields), cursor=ResponseCursor("resp_1", cursor))


def cursor_of(sent: Sent) -> tuple[str, str]:
    """Return the response and the cursor that are stored."""
    found = Generation.objects.values_list("provider_response_id", "provider_cursor").get(pk=sent.generation.pk)
    return found[0], found[1]


def test_cursors_are_stored_with_what_they_cover_by_one_statement_more(django_assert_num_queries: Any) -> None:
    sents = [begun() for _ in range(3)]
    with django_assert_num_queries(6):  # begin, heads, fences, events, cursors, commit
        assert commit([followed(sents[0], "4", "a"), followed(sents[1], "5"), write(sents[2], "c")]) == set()
    assert [said(sent) for sent in sents] == ["a", "", "c"]
    assert [cursor_of(sent) for sent in sents] == [("resp_1", "4"), ("resp_1", "5"), ("", "")]


def test_a_cursor_is_refused_with_what_it_covers() -> None:
    def refuse(seq: int) -> None:
        raise WriteRefused({(late.generation.pk, late.generation.fence)})

    zombie, late = begun(), begun()
    refused = commit([followed(zombie, "4", "a", fence=7), followed(late, "4", "b", apply=refuse)])
    assert refused == {(zombie.generation.pk, 7), (late.generation.pk, 1)}
    assert [(said(sent), cursor_of(sent)) for sent in (zombie, late)] == [("", ("", ""))] * 2


def test_a_cursor_alone_moves_no_position_and_is_told_to_nobody() -> None:
    told: list[Any] = []

    def note(*, batches: list[Batch], **_: Any) -> None:
        told.append(batches)

    sent = begun()
    head = Conversation.objects.get(pk=sent.conversation.pk).head
    events_committed.connect(note)
    try:
        assert commit([followed(sent, "0")]) == set()
        assert commit_again([followed(sent, "1")]) == set()
    finally:
        events_committed.disconnect(note)
    assert (cursor_of(sent), told) == (("resp_1", "1"), [])
    assert Conversation.objects.get(pk=sent.conversation.pk).head == head


def test_several_generations_of_one_conversation_keep_their_order() -> None:
    first = begun()
    second = ask(first.conversation, busy="queue")
    Generation.objects.filter(pk=second.generation.pk).update(
        status="running", fence=1, lease_expires_at=second.generation.created_at
    )
    assert commit([write(first, "a", "b"), write(second, "c", fence=1), write(first, "d")]) == set()
    assert [event["delta"] for event in stored(first.conversation)[5:]] == ["a", "b", "c", "d"]


def test_a_wrong_fence_is_refused_and_the_others_are_stored() -> None:
    good, bad = begun(), begun()
    assert commit([write(bad, "x", fence=7), write(good, "y")]) == {(bad.generation.pk, 7)}
    assert (said(bad), said(good)) == ("", "y")


def test_the_owner_s_write_is_stored_beside_that_of_its_zombie() -> None:
    sent = begun()
    Generation.objects.filter(pk=sent.generation.pk).update(fence=2)
    refused = commit([write(sent, "zombie", fence=1), write(sent, "owner", fence=2)])
    assert refused == {(sent.generation.pk, 1)}
    assert said(sent) == "owner"


def test_an_ended_generation_is_refused_and_nothing_follows_its_end() -> None:
    ended, other = begun(), begun()
    stop(ended.generation.pk)
    assert commit([write(ended, "late"), write(other, "y")]) == {(ended.generation.pk, 1)}
    assert (said(ended), said(other)) == ("", "y")


def test_a_deleted_conversation_is_refused_and_the_others_are_stored() -> None:
    gone, other = begun(), begun()
    Conversation.objects.filter(pk=gone.conversation.pk).delete()
    assert commit([write(gone, "late"), write(other, "y")]) == {(gone.generation.pk, 1)}
    assert said(other) == "y"
    assert not Event.objects.filter(conversation=gone.conversation.pk).exists()


def test_a_queued_generation_has_no_owner() -> None:
    first = begun()
    queued = ask(first.conversation, busy="queue")
    assert commit([write(queued, "early", fence=0)]) == {(queued.generation.pk, 0)}
    assert said(queued) == ""


def test_apply_runs_in_the_same_transaction_with_the_last_position() -> None:
    sent = begun()
    seen: list[tuple[int, int]] = []

    def apply(seq: int) -> None:
        seen.append((seq, Event.objects.filter(conversation=sent.conversation).count()))

    commit([write(sent, "a", "b", apply=apply)])
    assert seen == [(5, 5)]


def test_nothing_is_stored_when_apply_raises() -> None:
    sent, other = begun(), begun()
    heard: list[Batch] = []
    events_committed.connect(hear := lambda batches, **_: heard.extend(batches))

    def apply(seq: int) -> None:
        Generation.objects.filter(pk=sent.generation.pk).update(error_code="tried")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        commit([write(other, "y"), write(sent, "x", apply=apply)])
    events_committed.disconnect(hear)
    assert (said(sent), said(other), heard) == ("", "", [])
    assert Generation.objects.get(pk=sent.generation.pk).error_code == ""


def test_batches_are_announced_after_the_commit_with_their_positions() -> None:
    sents = [begun(), begun()]
    heard: list[tuple[Batch, int]] = []

    def hear(batches: list[Batch], **_: Any) -> None:
        # Another connection sees only what is committed.
        thread = threading.Thread(target=lambda: heard.extend((batch, committed(batch)) for batch in batches))
        thread.start()
        thread.join()

    events_committed.connect(hear)
    commit([write(sent, "a", "b") for sent in sents])
    events_committed.disconnect(hear)
    assert [(batch.conversation, batch.epoch, [row.seq for row in batch.rows], count) for batch, count in heard] == [
        (sent.conversation.pk, 1, [4, 5], 5) for sent in sents
    ]


def committed(batch: Batch) -> int:
    """Count the conversation's events on this thread's connection."""
    try:
        return Event.objects.filter(conversation=batch.conversation).count()
    finally:
        connection.close()


def test_a_second_try_stores_what_the_first_did_not() -> None:
    sent = begun()
    stored_before = Event.objects.filter(generation=sent.generation.pk).count()
    assert commit_again([write(sent, "a", before=stored_before)]) == set()
    assert said(sent) == "a"


def test_a_second_try_does_not_double_what_the_first_stored() -> None:
    sents = [begun(), begun()]
    writes = [write(sent, "a", "b", before=3) for sent in sents]
    commit(writes)
    assert commit_again(writes) == set()
    commit_again([write(sent, "c", before=5) for sent in sents])
    assert [said(sent) for sent in sents] == ["abc", "abc"]


def test_a_second_try_still_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = begun()
    stop(sent.generation.pk)
    # usage and message-end are stored after the write's "before"; three drafts are more than these.
    assert commit_again([write(sent, "a", "b", "c", before=3)]) == {(sent.generation.pk, 1)}


def test_a_stopped_generation_s_second_try_is_refused_however_few_its_events() -> None:
    sent = begun()
    stop(sent.generation.pk)
    assert commit_again([write(sent, "lost", before=3)]) == {(sent.generation.pk, 1)}


def test_a_steering_message_in_between_hides_nothing_that_is_stored() -> None:
    sent = begun()
    commit([write(sent, "a", before=3)])
    steer(sent.generation.pk, "Go on", None)
    commit([write(sent, "b", before=4)])
    assert commit_again([write(sent, "b", before=4)]) == set()
    assert said(sent) == "ab"


def test_a_write_that_refuses_itself_leaves_the_others_alone() -> None:
    sent, other = begun(), begun()

    def apply(seq: int) -> None:
        Generation.objects.filter(pk=sent.generation.pk).update(error_code="tried")
        raise WriteRefused({(sent.generation.pk, 1)})

    assert commit([write(other, "y"), write(sent, "x", apply=apply)]) == {(sent.generation.pk, 1)}
    assert (said(sent), said(other)) == ("", "y")
    assert Generation.objects.get(pk=sent.generation.pk).error_code == ""


def test_orm_work_of_a_draft_is_stored_with_it_and_not_twice() -> None:
    sent = begun()
    done: list[int] = []
    work = replace(write(sent, "a", before=3), stores=[lambda: done.append(1)])
    commit([work])
    commit_again([work])
    assert (said(sent), done) == ("a", [1])


def test_database_errors_are_raised_and_nothing_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = begun()

    def broken(*_: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(timezone, "now", broken)
    with pytest.raises(OperationalError):
        commit([write(sent, "x")])
    monkeypatch.undo()
    assert said(sent) == ""


def test_two_events_never_share_a_position() -> None:
    sent = begun()
    with pytest.raises(IntegrityError):
        Event.objects.create(
            conversation=sent.conversation, seq=1, type="x", data={}, created_at=sent.generation.created_at
        )
