"""Feedback goes with what it is about, and with who has given it."""

from __future__ import annotations

import pytest

from llmstream.exceptions import ConversationHeld
from llmstream.generations.prompts import Sent
from llmstream.models import Conversation, Feedback
from llmstream.retention.erasing import erase, find
from tests.support import changed, user

from .support import old, run

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def rated(by: str = "bob") -> Sent:
    """Return an old answer of ann's that somebody has rated."""
    sent = old()
    Feedback.objects.create(message=sent.answer, user=user(by), rating="down", comment="Not so.")
    return sent


def test_pruning_takes_it_along() -> None:
    rated()
    with changed(RETENTION_DAYS=30):
        run("llmstream_prune")
    assert not Feedback.objects.exists()


def test_stripping_takes_the_words_and_keeps_the_rating() -> None:
    rated()
    with changed(RETENTION_DAYS=30, RETENTION_ACTION="strip"):
        run("llmstream_prune")
    assert [(row.rating, row.comment) for row in Feedback.objects.all()] == [("down", "")]


def test_erasing_takes_what_a_person_has_thought() -> None:
    sent = rated("bob")
    Feedback.objects.create(message=sent.answer, user=user("ann"), rating="up")
    assert find(user("bob")).feedback == 1
    assert "1 ratings" in run("llmstream_erase", "bob")
    assert [row.user for row in Feedback.objects.all()] == [user("ann")]
    # Nobody else has seen it, so nobody has to begin anew.
    assert Conversation.objects.get(pk=sent.conversation.pk).epoch == 1


def test_a_legal_hold_keeps_it() -> None:
    sent = rated("bob")
    Conversation.objects.filter(pk=sent.conversation.pk).update(held=True)
    with pytest.raises(ConversationHeld):
        erase(user("bob"))
    assert Feedback.objects.exists()
    erase(user("bob"), override_hold=True)
    assert not Feedback.objects.exists()
