"""Branches: an answer once more, a message edited, a branch chosen, and which history the model sees on each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from llmstream.branches import choose
from llmstream.exceptions import (
    GenerationNotRetryable,
    IdempotencyConflict,
    InvalidRequest,
    LLMStreamError,
    UnknownModel,
)
from llmstream.generations.prompts import Again, Sent, retry
from llmstream.models import Conversation, Generation, Message
from llmstream.snapshot import state
from tests.support import ask, changed, check_log, conversation, echo, message_ids, model, site, stored, types, user
from tests.test_snapshot import complete

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

TEXT = "text-delta"


def answered(owner: Conversation, content: str, answer: str, **fields: Any) -> Sent:
    """Send a prompt and answer it."""
    return said(ask(owner, content, **fields), answer)


def said(sent: Sent, answer: str) -> Sent:
    """Let an answer say something and end."""
    complete(sent, (TEXT, answer))
    return sent


def sent_to_model(sent: Sent) -> str:
    """Return what a model is sent, in short."""
    assert sent.claim is not None
    return " ".join(turn.content for turn in sent.claim.request.messages)


def leaf(owner: Conversation) -> str:
    """Return the message that ends the branch on show."""
    return str(state(Conversation.objects.get(pk=owner.pk))["leaf"])


def talk() -> tuple[Conversation, list[Sent]]:
    """Return a conversation of three prompts, answered."""
    owner = conversation()
    return owner, [answered(owner, f"q{number}", f"a{number}") for number in (1, 2, 3)]


def test_the_history_follows_the_branch_over_three_levels() -> None:
    owner, (first, second, third) = talk()
    again = retry(second.generation.pk)
    assert sent_to_model(again) == "q1 a1 q2"
    said(again, "a2b")
    assert sent_to_model(said(ask(owner, "q3b"), "a3b")) == "q1 a1 q2 a2b q3b"
    edited = ask(owner, "q3c", edits=third.message.public_id)
    assert sent_to_model(said(edited, "a3c")) == "q1 a1 q2 a2 q3c"
    root = ask(owner, "q1b", edits=first.message.public_id)
    assert (sent_to_model(said(root, "a1b")), root.message.parent) == ("q1b", None)
    choose(owner.pk, again.answer.public_id)
    assert sent_to_model(said(ask(owner, "q4"), "a4")) == "q1 a1 q2 a2b q3b a3b q4"
    assert sent_to_model(said(ask(owner, "q5", parent=first.answer.public_id), "a5")) == "q1 a1 q5"
    assert sent_to_model(ask(owner, "q6", parent="root")) == "q6"
    check_log(owner)


def test_a_branch_may_begin_at_a_message_older_than_the_newest_that_are_read() -> None:
    with changed(MAX_MESSAGES=4):
        owner, (_, second, third) = talk()
        for number in (4, 5):
            answered(owner, f"q{number}", f"a{number}")
        edited = ask(owner, "q3b", edits=third.message.public_id)
        assert sent_to_model(said(edited, "a3b")) == "q1 a1 q2 a2 q3b"
        assert sent_to_model(said(retry(edited.generation.pk), "a3c")) == "q1 a1 q2 a2 q3b"
        choose(owner.pk, second.answer.public_id)
        found = state(Conversation.objects.get(pk=owner.pk))
        assert found["truncated"]
        assert len(found["messages"]) == 4


@pytest.mark.parametrize(
    ("limit", "numbers"), [(3, [8, 9, 10, 11, 12, 13]), (4, [7, 8, 9, 10, 11, 12, 13]), (13, range(1, 14))]
)
def test_a_snapshot_has_the_end_of_the_branch_on_show_however_old(limit: int, numbers: Sequence[int]) -> None:
    owner, (_, _, third) = talk()
    last = [answered(owner, f"q{number}", f"a{number}") for number in (4, 5)][-1]
    edited = said(ask(owner, "q3b", edits=third.message.public_id), "a3b")
    said(retry(edited.generation.pk), "a3c")
    choose(owner.pk, last.answer.public_id)
    ids = message_ids(owner)
    with changed(MAX_MESSAGES=limit):
        found = state(Conversation.objects.get(pk=owner.pk))
    assert found["leaf"] == last.answer.public_id == ids[9]
    assert [ids.index(message["id"]) + 1 for message in found["messages"]] == list(numbers)
    assert found["truncated"] == (limit < 13)


def test_another_branch_is_chosen_once_and_for_everybody() -> None:
    owner, (first, second, third) = talk()
    assert leaf(owner) == third.answer.public_id
    again = said(retry(first.generation.pk), "a1b")
    assert leaf(owner) == again.answer.public_id
    before = Conversation.objects.get(pk=owner.pk).head
    # On to the newest message under the chosen one.
    assert choose(owner.pk, first.answer.public_id).leaf == third.answer.public_id
    chosen = stored(owner)[before:]
    assert chosen == [{"seq": before + 1, "type": "branch-chosen", "leaf": third.answer.public_id}]
    assert choose(owner.pk, second.message.public_id) == (third.answer.public_id, (owner.public_id, 1, before + 1))
    assert len(stored(owner)) == before + 1
    assert leaf(owner) == third.answer.public_id
    # What is new shows its own branch.
    asked = ask(owner, "And?", parent=first.message.public_id)
    assert leaf(owner) == asked.answer.public_id
    choose(owner.pk, second.answer.public_id)
    waiting = retry(again.generation.pk, Again(busy="queue"))
    assert leaf(owner) == waiting.answer.public_id


def test_only_a_message_of_the_conversation_can_be_chosen_answered_or_edited() -> None:
    owner, (first, *_) = talk()
    other = answered(conversation(), "Hi", "Hello")
    for unknown in (other.message.public_id, "x" * 22, ""):
        with pytest.raises(InvalidRequest):
            choose(owner.pk, unknown)
    before = stored(owner)
    wrong = [{"parent": other.message.public_id}, {"edits": other.message.public_id}]
    wrong += [{"edits": first.answer.public_id}, {"parent": "root", "edits": first.message.public_id}]
    for fields in wrong:
        with pytest.raises(InvalidRequest):
            ask(owner, "Hi", **fields)
    assert stored(owner) == before


def test_an_edit_is_by_who_edits_and_the_old_message_stays() -> None:
    owner = conversation()
    first = answered(owner, "Mine", "Yes", author=user("ann"))
    edited = ask(owner, "Ours", author=user("bob"), edits=first.message.public_id)
    found = {message.text: message for message in Message.objects.filter(conversation=owner, role="user")}
    assert {text: str(message.author) for text, message in found.items()} == {"Mine": "ann", "Ours": "bob"}
    assert found["Mine"].parent_id is found["Ours"].parent_id is None
    assert leaf(owner) == edited.answer.public_id


def test_a_completed_answer_is_written_anew_by_the_model_asked_for() -> None:
    with site(models={"small": model(echo), "large": model(echo, SYSTEM="Be good.")}):
        owner = conversation()
        first = answered(owner, "Hi", "Hello", model="small")
        same = said(retry(first.generation.pk), "Hello again")
        other = retry(same.generation.pk, Again(model="large"))
        found = Generation.objects.filter(conversation=owner).order_by("pk")
        assert [(item.model, item.attempt) for item in found] == [("small", 1), ("small", 2), ("large", 3)]
        assert sent_to_model(said(other, "Good day")) == "Be good. Hi"
        with pytest.raises(UnknownModel):
            retry(first.generation.pk, Again(model="huge"))
    with site(models={"large": model(echo)}):
        # What the site no longer offers is answered by what it does.
        assert retry(first.generation.pk).generation.model == "large"
    check_log(owner)


def test_an_answer_is_not_written_anew_while_it_is_written() -> None:
    sent = ask(conversation())
    with pytest.raises(GenerationNotRetryable):
        retry(sent.generation.pk, Again(busy="interrupt"))


@pytest.mark.parametrize(
    ("busy", "statuses"), [("queue", ["running", "queued"]), ("interrupt", ["stopped", "running"])]
)
def test_a_busy_conversation_takes_it_as_it_takes_a_prompt(busy: str, statuses: list[str]) -> None:
    owner = conversation()
    first = answered(owner, "Hi", "Hello")
    at_work = ask(owner, "And?")
    with pytest.raises(LLMStreamError, match="already being generated"):
        retry(first.generation.pk)
    second = retry(first.generation.pk, Again(busy=busy))
    pks = [at_work.generation.pk, second.generation.pk]
    found = Generation.objects.in_bulk(pks)
    assert [found[pk].status for pk in pks] == statuses
    check_log(owner)


def test_a_repeated_key_writes_one_answer() -> None:
    owner = conversation()
    first = answered(owner, "Hi", "Hello", client_id="prompt")
    other = answered(owner, "And?", "So.")
    again = retry(first.generation.pk, Again(client_id="again"))
    # While it runs and when it has ended, from the old answer and from the new one.
    for generation in (first.generation, again.generation):
        repeat = retry(generation.pk, Again(client_id="again"))
        assert repeat.repeated
        assert (repeat.generation.pk, repeat.before) == (again.generation.pk, again.before)
        assert repeat.message.pk == first.message.pk
    said(again, "Hello again")
    assert retry(first.generation.pk, Again(client_id="again")).repeated
    for mistaken in ((first, "prompt"), (other, "again")):
        with pytest.raises(IdempotencyConflict):
            retry(mistaken[0].generation.pk, Again(client_id=mistaken[1]))
    with pytest.raises(IdempotencyConflict):
        ask(owner, "Hi", client_id="again")
    assert types(stored(owner)).count("generation-start") == 3
