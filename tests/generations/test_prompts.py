"""Prompts: what a second one meets, what a repeated one gets, and which history the model sees."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from llmstream.database import _sqlite_turn
from llmstream.exceptions import GenerationInProgress
from llmstream.generations.endings import stop
from llmstream.log.group import commit
from llmstream.models import Generation, Message
from llmstream.signals import message_created
from tests.log.test_group import write
from tests.support import PATIENCE, ask, check_log, conversation, echo, model, site

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def test_an_interrupted_answer_is_part_of_the_next_prompt_s_history() -> None:
    sent = ask(conversation())
    commit([write(sent, "partial answer")])
    again = ask(sent.conversation, "go on", busy="interrupt")
    assert again.claim is not None
    assert [turn.content for turn in again.claim.request.messages] == ["Hi", "partial answer", "go on"]


def test_there_is_never_a_second_running_answer_however_many_were_stopped_since() -> None:
    with site(BUSY="queue", MAX_MESSAGES=4):
        owner = conversation()
        assert ask(owner).claim
        for _ in range(3):
            sent = ask(owner, "next")
            assert sent.claim is None
            stop(sent.generation.pk)
    check_log(owner)


def test_an_answer_whose_process_died_does_not_block_the_next_prompt() -> None:
    with site(models={"default": model(echo, RECOVERY=["interrupt"])}):
        first = ask(conversation())
        past = timezone.now() - timedelta(seconds=60)
        Generation.objects.filter(pk=first.generation.pk).update(lease_expires_at=past)
        assert ask(first.conversation, "next").claim
    assert Generation.objects.get(pk=first.generation.pk).status == "interrupted"
    check_log(first.conversation)


def test_an_answer_that_another_process_will_go_on_with_is_at_work_for_the_next_prompt() -> None:
    first = ask(conversation())
    past = timezone.now() - timedelta(seconds=60)
    Generation.objects.filter(pk=first.generation.pk).update(lease_expires_at=past)
    with pytest.raises(GenerationInProgress):
        ask(first.conversation, "next")
    assert not ask(first.conversation, "next", busy="queue").ready
    assert Generation.objects.get(pk=first.generation.pk).status == "queued"
    assert ask(first.conversation, "last", busy="interrupt").claim
    assert Generation.objects.get(pk=first.generation.pk).status == "stopped"
    check_log(first.conversation)


def test_a_receiver_may_send_another_prompt() -> None:
    other, mine = conversation(), conversation()

    def reply(message: Message, **_: Any) -> None:
        if message.conversation_id == mine.pk and message.role == "user":
            ask(other, "from a receiver")

    def work() -> None:
        ask(mine)
        connection.close()

    message_created.connect(reply, sender=Message)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    message_created.disconnect(reply, sender=Message)
    if stuck := thread.is_alive():
        _sqlite_turn.release()  # so that a failure here fails here only
    assert not stuck
    assert Message.objects.filter(conversation=other).count() == 2
