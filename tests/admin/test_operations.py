"""Stop, retry, settle, rename and delete: done as for those who chat, and never behind the log's back."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import connections
from django.test import AsyncClient, Client, RequestFactory

from llmstream.admin import operations
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.claims import lease_end
from llmstream.models import Conversation, Event, Generation, Message, UsageRecord
from tests.support import (
    PATIENCE,
    ask,
    check_log,
    conversation,
    ended,
    site,
    stored,
    types,
    user,
)

from .staff import ADMIN, VIEW, answered, body, lapse, say, signed_in, staff, superuser

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

OPERATOR = (*VIEW, "change_generation")


def act(client: Client, name: str, *generations: Generation, **data: Any) -> str:
    """Choose an action for generations, and return the page that follows."""
    chosen = {"action": f"{name}_selected", "_selected_action": [item.pk for item in generations], **data}
    return body(client.post(f"{ADMIN}generation/", chosen, follow=True))


def status(generation: Generation) -> str:
    """Return how a generation stands."""
    return Generation.objects.get(pk=generation.pk).status


def test_selected_generations_are_stopped_with_their_text() -> None:
    running, other = ask(conversation()), answered()
    say(running.generation, "So", " far")
    html = act(signed_in(*OPERATOR), "stop", running.generation, other.generation)
    assert "Stopped: 1." in html
    assert status(running.generation) == "stopped"
    assert status(other.generation) == "completed"
    events = check_log(running.conversation)
    assert types(events)[-2:] == ["usage", "message-end"]
    assert Message.objects.get(pk=running.answer.pk).text == "So far"


def test_stopping_a_queued_one_charges_nothing() -> None:
    talk = conversation()
    ask(talk)
    queued = ask(talk, busy="queue")
    act(signed_in(*OPERATOR), "stop", queued.generation)
    assert status(queued.generation) == "stopped"
    assert not UsageRecord.objects.exists()
    check_log(talk)


def test_lapsed_ones_are_settled_and_living_ones_left() -> None:
    dead, alive = ask(conversation()), ask(conversation())
    lapse(dead.generation)
    html = act(signed_in(*OPERATOR), "settle", dead.generation, alive.generation)
    assert "Settled: 1." in html
    assert status(dead.generation) == "interrupted"
    assert status(alive.generation) == "running"
    check_log(dead.conversation)


def test_a_lease_renewed_meanwhile_saves_a_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = ask(conversation())
    lapse(sent.generation)
    client = signed_in(*OPERATOR)
    page = f"{ADMIN}generation/{sent.generation.pk}/"
    assert "settle/" in body(client.get(f"{page}change/"))
    Generation.objects.filter(pk=sent.generation.pk).update(lease_expires_at=lease_end())
    client.post(f"{page}settle/")
    assert status(sent.generation) == "running"


@pytest.mark.parametrize("atomic", [False, True])
def test_retried_under_wsgi(atomic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic)
    sent = answered("Hello", status="failed")
    with site():
        html = act(signed_in(*OPERATOR), "retry", sent.generation)
        assert "Begun anew: 1." in html
        again = Generation.objects.latest("pk")
        assert (again.attempt, again.message.parent_id) == (2, sent.message.pk)
        deadline = time.monotonic() + PATIENCE
        while status(again) in Generation.ACTIVE:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    assert Message.objects.get(pk=again.message_id).text == "Hello"
    check_log(sent.conversation)


async def test_retried_on_the_servers_own_loop(running: Engine, asgi_client: AsyncClient) -> None:
    sent = await run_db(answered, "Hello", status="failed")
    with site():
        response = await asgi_client.post(f"{ADMIN}generation/{sent.generation.pk}/retry/")
        assert response.status_code == 302
        again = await run_db(Generation.objects.latest, "pk")
        await ended(again)
    assert (await run_db(Message.objects.get, pk=again.message_id)).text == "Hello"


def test_what_cannot_be_retried_is_said() -> None:
    done, busy = answered(), answered(status="failed")
    ask(busy.conversation)
    client = signed_in(*OPERATOR)
    assert "There was nothing to do." in act(client, "retry", done.generation)
    assert "already being generated" in act(client, "retry", busy.generation)
    assert Generation.objects.count() == 3


def test_a_deleted_generation_disturbs_nothing() -> None:
    gone, running = ask(conversation()), ask(conversation())
    client = signed_in(*OPERATOR)
    page = client.get(f"{ADMIN}generation/")
    assert page.status_code == 200
    gone.conversation.delete()
    assert "Stopped: 1." in act(client, "stop", gone.generation, running.generation)


def test_all_that_a_filter_leaves_are_stopped_at_once() -> None:
    sents = [ask(conversation()) for _ in range(4)]
    done = answered()
    client = signed_in(*OPERATOR)
    data = {"action": "stop_selected", "_selected_action": [sents[0].generation.pk], "select_across": "1"}
    client.post(f"{ADMIN}generation/?status__exact=running", data)
    assert {status(sent.generation) for sent in sents} == {"stopped"}
    assert status(done.generation) == "completed"


def test_what_is_more_than_one_request_takes_on_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operations.OPERATIONS, "stop", replace(operations.OPERATIONS["stop"], at_once=2))
    sents = [ask(conversation()) for _ in range(3)]
    request = RequestFactory().post("/")
    request.user = staff()
    told: list[str] = []
    model_admin = SimpleNamespace(message_user=lambda request, text, level: told.append(str(text)))
    operations.operate(model_admin, request, operations.OPERATIONS["stop"], Generation.objects.all())
    assert told == ["Stopped: 2.", "There are more: only 2 are taken on at once."]
    assert [status(sent.generation) for sent in sents] == ["stopped", "stopped", "running"]


@pytest.mark.parametrize("name", ["stop", "retry", "settle"])
def test_each_is_refused_without_the_permission(name: str) -> None:
    running, dead, failed = ask(conversation()), ask(conversation()), answered(status="failed")
    lapse(dead.generation)
    events = Event.objects.count()
    client = signed_in(*VIEW, "view_content", "change_conversation")
    for sent in (running, dead, failed):
        act(client, name, sent.generation)
        assert client.post(f"{ADMIN}generation/{sent.generation.pk}/{name}/").status_code == 403
        assert f"/{name}/" not in body(client.get(f"{ADMIN}generation/{sent.generation.pk}/change/"))
    assert Event.objects.count() == events


@pytest.mark.parametrize("name", ["stop", "retry", "settle"])
def test_a_get_changes_nothing(name: str) -> None:
    sent = ask(conversation())
    assert superuser().get(f"{ADMIN}generation/{sent.generation.pk}/{name}/").status_code == 405
    assert status(sent.generation) == "running"


def test_a_forged_form_changes_nothing() -> None:
    sent = ask(conversation())
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff(*OPERATOR))
    assert client.post(f"{ADMIN}generation/{sent.generation.pk}/stop/").status_code == 403
    assert status(sent.generation) == "running"


def test_the_button_leads_back_to_the_generation_and_is_recorded() -> None:
    sent = ask(conversation())
    client = signed_in(*OPERATOR)
    address = f"{ADMIN}generation/{sent.generation.pk}/"
    assert f'action="{address}stop/"' in body(client.get(f"{address}change/"))
    response = client.post(f"{address}stop/")
    assert response["Location"] == f"{address}change/"
    entry = LogEntry.objects.get(action_flag=CHANGE)
    assert (entry.object_id, entry.change_message, entry.user.username) == (str(sent.generation.pk), "Stop", "staff")
    html = body(client.get(f"{address}change/"))
    assert f"{address}stop/" not in html
    assert f"{address}retry/" in html


def test_renaming_writes_the_title_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = ask(conversation(title="Old"))
    client = signed_in("view_conversation", "change_conversation")
    original = Conversation.save

    def save(self: Conversation, *args: Any, **kwargs: Any) -> None:
        # What streams in while the form is on its way.
        say(sent.generation, "more")
        original(self, *args, **kwargs)

    monkeypatch.setattr(Conversation, "save", save)
    data = {"title": "New", "head": 1, "epoch": 9, "owner": user().pk}
    response = client.post(f"{ADMIN}conversation/{sent.conversation.pk}/change/", data)
    assert response.status_code == 302
    found = Conversation.objects.get(pk=sent.conversation.pk)
    assert (found.title, found.owner_id, found.epoch) == ("New", None, 1)
    check_log(sent.conversation)


def test_a_viewer_can_not_rename() -> None:
    found = conversation(title="Old")
    client = signed_in(*VIEW, "view_content")
    assert client.post(f"{ADMIN}conversation/{found.pk}/change/", {"title": "New"}).status_code == 403
    assert Conversation.objects.get().title == "Old"


@pytest.mark.parametrize("way", ["page", "action"])
def test_deleting_stops_what_runs_and_keeps_the_ledger(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, kept = ask(conversation(title="Bye")), answered(title="Stays")
    client = signed_in("view_conversation", "delete_conversation")
    if way == "page":
        address, data = f"{ADMIN}conversation/{sent.conversation.pk}/delete/", {"post": "yes"}
    else:
        address = f"{ADMIN}conversation/"
        data = {"action": "delete_selected", "_selected_action": str(sent.conversation.pk), "post": "yes"}
    question = body(client.post(address, {**data, "post": ""}) if way == "action" else client.get(address))
    assert "Bye" in question
    assert "Events: 3" in question
    assert client.post(address, data).status_code == 302
    assert list(Conversation.objects.all()) == [kept.conversation]
    assert set(Event.objects.values_list("conversation", flat=True)) == {kept.conversation.pk}
    # Stopped first, and so charged.
    assert UsageRecord.objects.filter(conversation=None).count() == 1


def test_deleting_needs_the_permission() -> None:
    sent = ask(conversation())
    client = signed_in(*VIEW, "change_conversation", "view_content")
    address = f"{ADMIN}conversation/"
    assert client.post(f"{address}{sent.conversation.pk}/delete/", {"post": "yes"}).status_code == 403
    client.post(address, {"action": "delete_selected", "_selected_action": sent.conversation.pk, "post": "yes"})
    assert Conversation.objects.exists()


def test_asking_whether_to_delete_does_not_read_the_events(django_assert_max_num_queries: Any) -> None:
    sent = ask(conversation())
    say(sent.generation, *["word"] * 200)
    client = superuser()
    with django_assert_max_num_queries(12) as queries:
        client.get(f"{ADMIN}conversation/{sent.conversation.pk}/delete/")
    reading = [query["sql"] for query in queries if '"llmstream_event"' in query["sql"]]
    assert all("COUNT(" in sql for sql in reading)
    assert len(stored(sent.conversation)) == 203
