"""Pruning: what is due goes, what is not, runs, or is held stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import OperationalError, connection
from django.db.models import ProtectedError, QuerySet
from django.test import Client
from django.utils import timezone

from llmstream.exceptions import ConversationHeld
from llmstream.generations.endings import delete_conversation
from llmstream.models import (
    Conversation,
    Event,
    Generation,
    Node,
    UsageRecord,
)
from llmstream.readers import resume
from llmstream.retention.policy import older_than
from llmstream.retention.pruning import Pruning
from llmstream.retention.tombstones import TOMBSTONE
from llmstream.snapshot import state
from tests.admin.staff import finish, say
from tests.support import (
    ask,
    changed,
    stored,
    user,
)

from .support import aged, deltas, exists, old, run

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def rubbish(conversations: QuerySet[Conversation], _: datetime) -> QuerySet[Conversation]:
    """A site's policy: only what has this title goes."""
    return conversations.filter(title="Rubbish")


def test_by_default_old_answers_are_compacted_and_nothing_goes() -> None:
    then, now = old(), aged(old(), 0.5)
    assert "Compacted 1 answers, 2 rows fewer." in run("llmstream_prune")
    assert (deltas(then), deltas(now)) == (1, 3)
    assert exists(then)


def test_compaction_is_switched_off_by_none_at_all() -> None:
    sent = old()
    with changed(COMPACT_AFTER=0):
        run("llmstream_prune")
    assert deltas(sent) == 3


def test_a_short_grace_never_takes_what_has_just_ended() -> None:
    sent = old(0)
    with changed(COMPACT_AFTER=0.001):
        run("llmstream_prune")
    assert deltas(sent) == 3


def test_conversations_past_their_time_go_with_all_but_the_ledger() -> None:
    then, now = old(40), old(20)
    with changed(RETENTION_DAYS=30):
        assert "Pruned 1 conversations." in run("llmstream_prune")
    assert (exists(then), exists(now)) == (False, True)
    assert not Event.objects.filter(conversation=then.conversation.pk).exists()
    assert UsageRecord.objects.count() == 2
    assert UsageRecord.objects.filter(conversation=None).count() == 1


def test_an_age_on_the_command_line_counts_instead_of_the_policy() -> None:
    then = old(3)
    run("llmstream_prune", "--older-than", "4")
    assert exists(then)
    run("llmstream_prune", "--older-than", "2")
    assert not exists(then)


def test_a_site_has_a_policy_of_its_own() -> None:
    then, now = old(40), old(0, title="Rubbish")
    with changed(RETENTION_DAYS=30, RETENTION_POLICY="tests.retention.test_pruning.rubbish"):
        run("llmstream_prune")
    assert (exists(then), exists(now)) == (True, False)


def test_what_runs_waits_or_is_held_stays() -> None:
    held, running = old(held=True), old()
    ask(running.conversation)
    aged(running, 40)
    with changed(RETENTION_DAYS=30):
        told = run("llmstream_prune", "--dry-run")
        assert "To prune: 0 conversations" in told
        assert "under a legal hold: 1; at work: 1." in told
        run("llmstream_prune")
    assert exists(held)
    assert exists(running)
    assert deltas(held) == 3


def test_a_dry_run_tells_and_changes_nothing() -> None:
    sent = old()
    Node.objects.create(expires_at=timezone.now() - timedelta(days=1))
    with changed(RETENTION_DAYS=30):
        told = run("llmstream_prune", "--dry-run")
    assert "To compact: 1 answers with 3 pieces." in told
    assert "To prune: 1 conversations with 2 messages and 8 events." in told
    assert "Processes that are gone: 1." in told
    assert (exists(sent), deltas(sent), Node.objects.count()) == (True, 3, 1)


def test_processes_that_are_gone_go() -> None:
    Node.objects.create(expires_at=timezone.now() - timedelta(days=1))
    run("llmstream_prune")
    assert not Node.objects.exists()


@pytest.mark.parametrize("arguments", [("--batch", "0"), ("--older-than", "-1"), ("--older-than", "x")])
def test_nonsense_is_refused(arguments: tuple[str, str]) -> None:
    with pytest.raises(CommandError):
        run("llmstream_prune", *arguments)


def test_all_of_many_are_pruned_in_batches() -> None:
    sents = [old() for _ in range(5)]
    with changed(RETENTION_DAYS=30):
        assert "Pruned 5 conversations." in run("llmstream_prune", "--batch", "2", "-v", "2")
    assert not any(exists(sent) for sent in sents)


def test_one_that_fails_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = old(), old()
    remove = Conversation.delete

    def fail(self: Conversation, *args: Any, **kwargs: Any) -> Any:
        if self.pk == first.conversation.pk:
            raise OperationalError
        return remove(self, *args, **kwargs)

    monkeypatch.setattr(Conversation, "delete", fail)
    with changed(RETENTION_DAYS=30), pytest.raises(CommandError) as caught:
        run("llmstream_prune")
    assert caught.value.returncode == 3
    assert (exists(first), exists(second)) == (True, False)


def test_two_hosts_at_once_prune_each_once() -> None:
    sents = [old() for _ in range(6)]

    def work() -> int:
        try:
            return sum(done for _, done in Pruning(older_than(timedelta(days=30))).run(2))
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        done = [item.result(30) for item in [threads.submit(work), threads.submit(work)]]
    assert sum(done) == 6
    assert not any(exists(sent) for sent in sents)


def test_what_is_used_between_the_look_and_the_lock_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = old()

    def used(*_: Any) -> list[Generation]:
        finish(ask(sent.conversation))
        return []

    monkeypatch.setattr("llmstream.retention.pruning.uncompacted", used)
    assert list(Pruning(older_than(timedelta(days=30))).run(1)) == []
    assert exists(sent)


# Stripping.


def test_stripped_conversations_keep_their_figures_only() -> None:
    sent = old(title="My secret")
    owner = Conversation.objects.get(pk=sent.conversation.pk)
    seen = str(owner.last_event_id)
    with changed(RETENTION_DAYS=30, RETENTION_ACTION="strip"):
        assert "Pruned 1 conversations." in run("llmstream_prune")
        assert "Pruned 0 conversations." in run("llmstream_prune")
    owner.refresh_from_db()
    assert [message["parts"][0]["text"] for message in state(owner)["messages"]] == [TOMBSTONE, TOMBSTONE]
    assert (owner.title, stored(owner)) == ("", [])
    assert Generation.objects.get(pk=sent.generation.pk).status == "completed"
    start = resume(owner, seen)
    assert start
    assert start.preface[0][0] == {"type": "reset", "reason": "epoch"}


def test_a_stripped_conversation_goes_on() -> None:
    sent = old()
    with changed(RETENTION_DAYS=30, RETENTION_ACTION="strip"):
        run("llmstream_prune")
    again = ask(sent.conversation, "And now?")
    say(again.generation, "Fine")
    finish(again)
    owner = Conversation.objects.get(pk=sent.conversation.pk)
    assert [message["parts"][0]["text"] for message in state(owner)["messages"]] == [
        *(TOMBSTONE, TOMBSTONE),
        *("And now?", "Fine"),
    ]


# Legal hold.


def test_a_held_conversation_cannot_be_deleted_by_anybody(client: Client) -> None:
    sent = old(held=True)
    with pytest.raises(ConversationHeld):
        delete_conversation(sent.conversation)
    client.force_login(user("ann"))
    answer = client.delete(f"/llmstream/conversations/{sent.conversation.public_id}/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conversation_held")
    with pytest.raises(ProtectedError):
        user("ann").delete()
    assert exists(sent)


def test_deleting_a_user_takes_what_is_not_held_along() -> None:
    sent = old()
    user("ann").delete()
    assert not exists(sent)
