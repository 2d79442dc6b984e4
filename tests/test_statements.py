"""Statements that are written out: they store and read what Django's own would."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Model
from django.db.models.functions import Now
from django.db.models.signals import post_save, pre_save
from django.utils import timezone

from llmstream import statements
from llmstream.generations.endings import stop
from llmstream.models import Conversation, Generation, Message, UsageRecord
from llmstream.statements import insert, is_busy, messages_until, update
from tests.support import ask, conversation

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

PARTS = [{"type": "text", "text": 'Grüße, "100 %" \\ \U0001f600'}]


def save(instance: Model) -> None:
    """Store it as Django does."""
    instance.save(force_insert=True)


@pytest.fixture(params=["plain", "portable"], autouse=True)
def _database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything once with the statements for this database, and once as for one without."""
    if request.param == "portable":
        monkeypatch.setattr(statements, "_is_plain", lambda connection: False)


def columns(instance: Model) -> dict[str, Any]:
    """Return the stored columns, bare, but for those that no two rows share."""
    meta = instance._meta
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {meta.db_table} WHERE id = %s", [instance.pk])
        values = dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))
    return {name: value for name, value in values.items() if name not in ("id", "public_id", "first_seq", "created_at")}


def message(found: Conversation, seq: int) -> Message:
    """Return a message that is not stored yet."""
    author = get_user_model().objects.get_or_create(username="ada")[0]
    return Message(
        conversation=found, role="user", parts=PARTS, text=PARTS[0]["text"], author=author, first_seq=seq, end_seq=seq
    )


def generation(found: Conversation, moment: datetime | None, answer: Message) -> Generation:
    """Return a generation that is not stored yet."""
    return Generation(conversation=found, message=answer, model="m", first_seq=1, started_at=moment)


def test_a_row_is_stored_as_save_stores_it() -> None:
    moment, found = timezone.now(), conversation()
    stored: dict[Callable[[Model], None], list[dict[str, Any]]] = {}
    for seq, store in enumerate((save, insert), 1):
        question = message(found, seq)
        store(question)
        run = generation(found, moment, question)
        store(run)
        record = UsageRecord(generation=run, model="m", input_tokens=2**40, cost=Decimal("0.00012345"))
        store(record)
        stored[store] = [columns(item) for item in (question, run, record)]
    first, second = stored[save], stored[insert]
    assert first[0].pop("end_seq") + 1 == second[0].pop("end_seq")
    for item in (first, second):
        assert item[1].pop("message_id")
        assert item[2].pop("generation_id")
    assert first == second


def test_an_instance_is_as_after_save() -> None:
    question = message(conversation(), 1)
    insert(question)
    assert (question._state.adding, question._state.db) == (False, "default")
    read = Message.objects.get(pk=question.pk)
    assert (read.public_id, read.created_at, read.parts) == (question.public_id, question.created_at, PARTS)


def test_the_database_computes_expressions() -> None:
    before, found = timezone.now(), conversation()
    question = message(found, 1)
    insert(question)
    run = generation(found, None, question)
    run.lease_expires_at = Now() + timedelta(hours=1)
    insert(run)
    read = Generation.objects.get(pk=run.pk)
    assert read.lease_expires_at
    assert timedelta(minutes=59) < read.lease_expires_at - before < timedelta(minutes=61)


@pytest.mark.parametrize("signal", [pre_save, post_save])
def test_receivers_hear_of_new_rows(signal: Any) -> None:
    heard: list[tuple[Any, bool]] = []

    def receiver(*, instance: Any, raw: bool, **_: Any) -> None:
        heard.append((instance, raw))

    signal.connect(receiver, sender=Message)
    try:
        question = message(conversation(), 1)
        insert(question)
    finally:
        signal.disconnect(receiver, sender=Message)
    assert heard == [(question, False)]
    assert Message.objects.filter(pk=question.pk).exists()


def test_an_update_changes_one_row_and_what_it_names() -> None:
    found, moment = conversation(), timezone.now()
    first, second = message(found, 1), message(found, 2)
    insert(first)
    insert(second)
    update(Message, first.pk, status="stopped", parts=PARTS * 2, text="", created_at=moment)
    read = Message.objects.get(pk=first.pk)
    assert (read.status, read.parts, read.text, read.created_at) == ("stopped", PARTS * 2, "", moment)
    assert (read.public_id, read.author) == (first.public_id, first.author)
    assert Message.objects.get(pk=second.pk).status == "completed"


def test_a_conversation_is_busy_until_its_generations_have_ended() -> None:
    sent, other = ask(conversation()), conversation()
    queued = ask(sent.conversation, busy="queue")
    assert is_busy(sent.conversation.pk)
    assert not is_busy(other.pk)
    stop(sent.generation.pk)
    assert is_busy(sent.conversation.pk)
    stop(queued.generation.pk)
    assert not is_busy(sent.conversation.pk)


def test_the_newest_messages_come_first() -> None:
    sent = ask(conversation())
    ask(conversation())
    found = messages_until(sent.conversation.pk, sent.conversation.head, 5)
    assert [(turn.pk, turn.public_id, turn.parent, turn.role, turn.text) for turn in found] == [
        (sent.answer.pk, sent.answer.public_id, sent.message.pk, "assistant", ""),
        (sent.message.pk, sent.message.public_id, None, "user", sent.message.text),
    ]
    assert [turn.pk for turn in messages_until(sent.conversation.pk, sent.conversation.head, 1)] == [sent.answer.pk]
    assert [turn.pk for turn in messages_until(sent.conversation.pk, 1, 5)] == [sent.message.pk]


def test_an_update_may_be_bound_to_what_the_row_has() -> None:
    found = ask(conversation()).generation
    assert not update(Generation, found.pk, where={"steers": 1}, error_code="first")
    assert update(Generation, found.pk, where={"steers": 0, "model": found.model}, error_code="second")
    assert update(Generation, found.pk, finish_reason="third")
    found.refresh_from_db()
    assert (found.error_code, found.finish_reason) == ("second", "third")
