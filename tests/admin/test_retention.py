"""Retention in the admin: what will be done is shown first, and what is held stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.test import Client
from django.utils import timezone

from llmstream.admin import retention
from llmstream.generations.prompts import Sent
from llmstream.models import Conversation, Event, Generation
from tests.support import ask, changed, conversation, user

from .staff import ADMIN, VIEW, body, finish, say, signed_in

pytestmark = pytest.mark.django_db
LIST = f"{ADMIN}conversation/"


def old(**fields: Any) -> Sent:
    """Return a conversation with an answer of three pieces that was last used long ago."""
    sent = ask(conversation(owner=user("ann"), **fields))
    say(sent.generation, "One ", "two ", "three")
    finish(sent)
    then = timezone.now() - timedelta(days=40)
    Conversation.objects.filter(pk=sent.conversation.pk).update(updated_at=then)
    Generation.objects.filter(pk=sent.generation.pk).update(ended_at=then)
    return sent


def act(client: Client, action: str, *sents: Sent, confirmed: bool = False) -> str:
    """Choose an action for some conversations; return the page that comes of it."""
    data: dict[str, Any] = {"action": action, "_selected_action": [sent.conversation.pk for sent in sents]}
    if confirmed:
        data["confirmed"] = "yes"
    return body(client.post(LIST, data, follow=True))


def rows() -> int:
    """How many events there are."""
    return Event.objects.count()


def test_compaction_is_foreseen_and_done() -> None:
    chosen, held, other = old(), old(held=True), old()
    client, before = signed_in(*VIEW, "change_conversation"), rows()
    page = act(client, "compact", chosen, held)
    assert "answers to compact: 1" in page
    assert "pieces of text in them: 3" in page
    assert "under a legal hold, which stay as they are: 1" in page
    assert rows() == before
    assert "Compacted 1 answers: 2 rows fewer." in act(client, "compact", chosen, held, confirmed=True)
    assert rows() == before - 2
    compacted = Generation.objects.filter(compacted_at__isnull=False)
    assert list(compacted) == [chosen.generation]
    assert other.generation not in compacted


def test_pruning_is_foreseen_done_and_recorded() -> None:
    chosen, held, other = old(), old(held=True), old()
    client = signed_in(*VIEW, "delete_conversation")
    with changed(RETENTION_DAYS=30):
        page = act(client, "prune", chosen, held)
        assert "no longer keeps: 1" in page
        assert "due, but under a legal hold: 1" in page
        assert Conversation.objects.count() == 3
        assert "Pruned: 1." in act(client, "prune", chosen, held, confirmed=True)
    assert set(Conversation.objects.all()) == {held.conversation, other.conversation}
    (entry,) = LogEntry.objects.filter(action_flag=DELETION)
    assert entry.object_id == str(chosen.conversation.pk)


def test_nothing_is_done_without_the_permission() -> None:
    sent = old()
    with changed(RETENTION_DAYS=30):
        for action in ("compact", "prune"):
            act(signed_in(*VIEW), action, sent, confirmed=True)
    assert Conversation.objects.filter(pk=sent.conversation.pk).exists()
    assert not Generation.objects.filter(compacted_at__isnull=False).exists()


def test_too_many_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 1)
    page = act(signed_in(*VIEW, "change_conversation"), "compact", old(), old(), confirmed=True)
    assert "Select 1 conversations at most." in page
    assert not Generation.objects.filter(compacted_at__isnull=False).exists()


def test_a_hold_is_set_with_a_permission_of_its_own() -> None:
    sent = old(title="Case 12")
    address = f"{LIST}{sent.conversation.pk}/change/"
    for codenames, held in ((("change_conversation",), False), (("change_conversation", "hold_conversation"), True)):
        signed_in(*VIEW, *codenames).post(address, {"title": "Case 12", "held": "on"})
        assert Conversation.objects.get(pk=sent.conversation.pk).held is held


def test_what_is_held_cannot_be_deleted() -> None:
    sent = old(held=True)
    client = signed_in(*VIEW, "delete_conversation")
    assert "under a legal hold" in body(client.get(f"{LIST}{sent.conversation.pk}/delete/"))
    client.post(f"{LIST}{sent.conversation.pk}/delete/", {"post": "yes"})
    client.post(LIST, {"action": "delete_selected", "_selected_action": [sent.conversation.pk], "post": "yes"})
    assert Conversation.objects.filter(pk=sent.conversation.pk).exists()


def test_a_recording_says_that_it_was_compacted() -> None:
    sent = old()
    client = signed_in(*VIEW, "view_content", "change_conversation")
    address = f"{ADMIN}generation/{sent.generation.pk}/recording/"
    assert "has been compacted" not in body(client.get(address))
    act(client, "compact", sent, confirmed=True)
    assert "has been compacted" in body(client.get(address))
    script = client.get(f"{ADMIN}generation/{sent.generation.pk}/script.json/")
    assert '"One two three"' in body(script)
