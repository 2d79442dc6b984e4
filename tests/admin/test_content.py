"""Reading what people said: who may, that it is recorded, and that it is text and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from llmstream.admin import conversations
from llmstream.branches import choose
from llmstream.generations.prompts import Sent, retry
from llmstream.models import Event, Generation
from tests.support import ask, conversation, message_ids, user

from .staff import ADMIN, MODELS, VIEW, answered, body, finish, readings, say, signed_in, superuser

pytestmark = pytest.mark.django_db

#: Session, user, savepoint and its release, conversation twice, members, four of the transcript, the record of it,
#: which branch is on show, the ledger.
TRANSCRIPT_QUERIES = 13
SECRET = "the zebra's secret"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7|add:70000 }}"


def pages(sent: Sent) -> list[str]:
    """Return the addresses of everything that belongs to an answer."""
    event = Event.objects.filter(type="text-delta").latest("pk")
    rows = {
        "conversation": sent.conversation.pk,
        "message": sent.answer.pk,
        "generation": sent.generation.pk,
        "event": event.pk,
    }
    pages = [f"{ADMIN}{name}/{pk}/change/" for name, pk in rows.items()]
    return [*pages, *(f"{ADMIN}{name}/" for name in MODELS), f"{ADMIN}generation/figures/", "/admin/"]


def test_who_may_only_view_sees_no_content_anywhere() -> None:
    client = signed_in(*VIEW)
    sent = answered(SECRET, SECRET)
    for page in pages(sent):
        response = client.get(page)
        assert response.status_code == 200, page
        assert "zebra" not in body(response), page
    assert readings() == []


@pytest.mark.parametrize("page", ["recording", "recording.jsonl", "script.json", "live"])
def test_nor_gets_a_recording(page: str) -> None:
    sent = answered(SECRET, SECRET)
    address = f"{ADMIN}generation/{sent.generation.pk}/{page}/"
    assert signed_in(*VIEW).get(address).status_code == 403
    assert signed_in("view_content").get(address).status_code == 403
    assert superuser().get(address).status_code in (200, 501)


def test_nor_exports() -> None:
    client = signed_in(*VIEW)
    sent = answered(SECRET, SECRET)
    data = {"action": "export_csv", "_selected_action": sent.conversation.pk}
    assert "zebra" not in body(client.post(f"{ADMIN}conversation/", data, follow=True))
    assert "export_csv" not in body(client.get(f"{ADMIN}conversation/"))


def test_the_permission_to_read_alone_opens_nothing() -> None:
    client = signed_in("view_content")
    sent = answered(SECRET, SECRET)
    for page in pages(sent)[:-1]:
        assert client.get(page).status_code == 403, page
    assert readings() == []


def test_nobody_gets_in_without_being_staff() -> None:
    client = superuser()
    member = user("root")
    member.is_staff = member.is_superuser = False
    member.save()
    sent = answered(SECRET, SECRET)
    recording = f"{ADMIN}generation/{sent.generation.pk}/recording.jsonl/"
    for page in [*pages(sent), recording]:
        response = client.get(page)
        assert response.status_code == 302
        assert "login" in response["Location"]


def test_reading_is_recorded_in_the_history_of_the_conversation() -> None:
    client = signed_in(*VIEW, "view_content")
    sent = answered(SECRET, SECRET)
    event = Event.objects.filter(type="text-delta").latest("pk")
    for page in pages(sent)[:4]:
        client.get(page)
    body(client.get(f"{ADMIN}generation/{sent.generation.pk}/recording.jsonl/"))
    body(client.get(f"{ADMIN}generation/{sent.generation.pk}/script.json/"))
    assert readings(sent.conversation) == [
        "Read the transcript.",
        f"Read message {sent.answer.public_id}.",
        f"Read event {event.seq}.",
        f"Read the recording of generation {sent.generation.public_id}.",
        f"Read the script of generation {sent.generation.public_id}.",
    ]
    history = body(client.get(f"{ADMIN}conversation/{sent.conversation.pk}/history/"))
    assert "Read the transcript." in history
    assert "staff" in history
    # Django's own pages get along with entries of a kind that is not theirs.
    assert client.get("/admin/").status_code == 200


def test_content_that_cannot_be_recorded_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in(*VIEW, "view_content")
    sent = answered(SECRET, SECRET)

    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no space left")

    monkeypatch.setattr(LogEntry.objects, "bulk_create", refuse)
    with pytest.raises(RuntimeError, match="no space left"):
        client.get(f"{ADMIN}conversation/{sent.conversation.pk}/change/")


def test_what_people_say_is_shown_as_text() -> None:
    client = superuser()
    owner = user(name="<b>ann</b>")
    sent = ask(conversation(owner=owner, title=EVIL), EVIL)
    say(sent.generation, EVIL, EVIL)
    finish(sent)
    retried = retry(finish(ask(sent.conversation, EVIL), "stopped").generation.pk)
    say(retried.generation, EVIL, kind="reasoning")
    extra = [f"{ADMIN}conversation/{sent.conversation.pk}/{page}/" for page in ("delete", "history")]
    recording = f"{ADMIN}generation/{sent.generation.pk}/recording/"
    for page in [*pages(sent), *extra, recording, f"{ADMIN}usagerecord/figures/"]:
        html = body(client.get(page))
        for bad in ("<script>alert", "<img src=x", "<b>ann</b>", "70007"):
            assert bad not in html, page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body(client.get(pages(sent)[0]))


def test_no_page_has_scripts_or_styles_of_its_own() -> None:
    client, sent = superuser(), answered()
    for page in [*pages(sent), f"{ADMIN}generation/{sent.generation.pk}/recording/"]:
        html = body(client.get(page))
        assert "style=" not in html, page
        assert "<style" not in html, page
        for script in html.split("<script")[1:]:
            tag, _, rest = script.partition(">")
            assert "src=" in tag or 'type="application/json"' in tag or 'id="django' in tag, (page, tag, rest[:80])


def test_the_transcript_shows_branches_beside_the_chosen_one() -> None:
    client = superuser()
    first = finish(ask(conversation(), "Question"), "failed")
    second = finish(retry(first.generation.pk), "stopped")
    third = retry(second.generation.pk)
    say(third.generation, "So far")
    items = client.get(f"{ADMIN}conversation/{first.conversation.pk}/change/").context["transcript"]["items"]
    shown = [item["item"].message.public_id if item["kind"] == "turn" else item["kind"] for item in items]
    assert shown == [
        first.message.public_id,
        *("start", first.answer.public_id, "end"),
        *("start", second.answer.public_id, "end"),
        third.answer.public_id,
    ]
    assert items[-1]["item"].text == "So far"
    choose(first.conversation.pk, second.answer.public_id)
    Generation.objects.filter(pk=second.generation.pk).update(left_out=3)
    assert "3 turns left out" in body(client.get(f"{ADMIN}conversation/{first.conversation.pk}/change/"))
    items = client.get(f"{ADMIN}conversation/{first.conversation.pk}/change/").context["transcript"]["items"]
    assert items[-1]["item"].message.public_id == second.answer.public_id


def test_a_deep_tree_is_shown_as_well_as_a_flat_one() -> None:
    client, talk = superuser(), conversation()
    last = None
    for number in range(45):
        # Each answer is tried twice, and the talk goes on from the first one: branches within branches.
        sent = finish(ask(talk, str(number), parent=last or ""), "stopped")
        finish(retry(sent.generation.pk))
        last = sent.answer.public_id
    html = body(client.get(f"{ADMIN}conversation/{talk.pk}/change/"))
    assert html.count('<details class="llmstream-branch"') == html.count("Another branch")
    assert html.count("<article") == conversations.TRANSCRIPT_PAGE


def test_a_long_transcript_comes_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "TRANSCRIPT_PAGE", 4)
    client, talk = superuser(), conversation()
    for number in range(5):
        finish(ask(talk, f"Question {number}"))
    seen: list[str] = []
    query = ""
    while True:
        transcript = client.get(f"{ADMIN}conversation/{talk.pk}/change/{query}").context["transcript"]
        turns = [item["item"].message.public_id for item in transcript["items"] if item["kind"] == "turn"]
        assert len(turns) <= 4
        seen = turns + seen
        if not transcript["older"]:
            break
        query = f"?before={transcript['older']}"
    assert seen == message_ids(talk)
    assert client.get(f"{ADMIN}conversation/{talk.pk}/change/?before=abc").status_code == 200


def test_a_transcript_asks_as_much_for_many_messages_as_for_few(django_assert_num_queries: Any) -> None:
    client, talk = superuser(), conversation(owner=user())
    address = f"{ADMIN}conversation/{talk.pk}/change/"
    finish(ask(talk, author=user()))
    client.get(address)
    with django_assert_num_queries(TRANSCRIPT_QUERIES):
        client.get(address)
    for number in range(8):
        finish(ask(talk, author=user(f"member{number}")))
    with django_assert_num_queries(TRANSCRIPT_QUERIES):
        client.get(address)
