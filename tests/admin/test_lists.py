"""Lists of the admin: what they show, find and filter, and how little they ask the database."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from llmstream.admin import base
from llmstream.events import STORED
from llmstream.models import Conversation, Event, Generation, Message, UsageRecord
from tests.support import ask, conversation, user

from .staff import ADMIN, MODELS, VIEW, answered, body, lapse, readings, signed_in, superuser

pytestmark = pytest.mark.django_db


def listed(client: Client, path: str) -> list[Any]:
    """Return the rows that a list shows."""
    response = client.get(ADMIN + path)
    assert response.status_code == 200, response
    return list(response.context["cl"].result_list)


def titles(client: Client, path: str) -> set[str]:
    """Return the titles of listed conversations."""
    return {row.title for row in listed(client, f"conversation/{path}")}


@pytest.fixture
def client() -> Client:
    """Somebody who may look at everything, content included."""
    return signed_in(*VIEW, "view_content")


@pytest.mark.parametrize("name", MODELS)
def test_a_list_asks_as_much_for_many_rows_as_for_few(name: str, client: Client) -> None:
    answered(owner="ann")
    listed(client, f"{name}/")
    with CaptureQueriesContext(
        connection,
    ) as few:
        listed(client, f"{name}/")
    for number in range(12):
        answered(owner=f"owner{number}", status="failed")
    with CaptureQueriesContext(connection) as many:
        assert len(listed(client, f"{name}/")) > 12
    assert len(few) == len(many) == 6  # session, user, two for permissions, bounded count, rows


@pytest.mark.parametrize("name", MODELS)
def test_no_list_counts_a_whole_table(name: str, client: Client) -> None:
    answered()
    with CaptureQueriesContext(connection) as queries:
        listed(client, f"{name}/")
    counting = [query["sql"] for query in queries if "COUNT(*)" in query["sql"]]
    assert len(counting) == 1
    assert f"LIMIT {base.LIST_LIMIT + 1}" in counting[0]


@pytest.mark.parametrize("name", MODELS)
def test_no_list_sorts_what_an_index_has_sorted(name: str, client: Client) -> None:
    answered()
    with CaptureQueriesContext(connection) as queries:
        listed(client, f"{name}/")
    sql = queries[-1]["sql"]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # So few rows are sorted sooner than looked up in order; with this they are sorted only if they must be.
            cursor.execute("SET LOCAL enable_sort = off")
            cursor.execute(f"EXPLAIN {sql}")
            plan = " ".join(row[0] for row in cursor.fetchall())
            assert "Sort" not in plan
        else:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            plan = " ".join(row[3] for row in cursor.fetchall())
            assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_events_of_one_conversation_come_in_order_by_their_index(client: Client) -> None:
    sent = answered()
    answered()
    path = f"event/?conversation__id__exact={sent.conversation.pk}"
    with CaptureQueriesContext(connection) as queries:
        rows = listed(client, path)
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert {row.conversation_id for row in rows} == {sent.conversation.pk}
    with connection.cursor() as cursor:
        explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        cursor.execute(f"{explain} {queries[-1]['sql']}")
        plan = " ".join(str(row) for row in cursor.fetchall())
    assert "TEMP B-TREE" not in plan
    if connection.vendor == "sqlite":
        assert "llmstream_event_position" in plan or "sqlite_autoindex_llmstream_event" in plan


def test_a_long_list_ends_where_counting_ends_and_says_so(client: Client) -> None:
    for number in range(6):
        conversation(title=f"Talk {number}")
    with patch.object(base, "LIST_LIMIT", 4):
        response = client.get(f"{ADMIN}conversation/")
    assert response.context["cl"].result_count == 4
    assert "There are more." in body(response)
    assert "There are more." not in body(client.get(f"{ADMIN}conversation/"))


def test_a_page_of_a_list_is_a_page(client: Client) -> None:
    made = [conversation(title=str(number)) for number in range(base.LargeTableAdmin.list_per_page + 3)]
    second = listed(client, "conversation/?p=2")
    assert [row.pk for row in second] == [item.pk for item in made[2::-1]]


def test_a_page_far_back_is_worked_out_alone(client: Client) -> None:
    for number in range(base.LargeTableAdmin.list_per_page + 1):
        conversation(title=str(number))
    with CaptureQueriesContext(connection) as queries:
        listed(client, "conversation/?p=2")
    skipping = [query["sql"] for query in queries if "OFFSET" in query["sql"]]
    assert len(skipping) == 1
    assert "llmstream_generation" not in skipping[0]
    assert len(queries) == 7


def test_conversations_are_found_by_what_was_said(client: Client) -> None:
    answered("Where do zebras live?", "In Africa.", title="One")
    answered("What of lions?", "Africa, too.", title="Two")
    assert titles(client, "?q=zebras") == {"One"}
    assert titles(client, "?q=AFRICA") == {"One", "Two"}
    assert titles(client, "?q=africa too") == {"Two"}
    assert titles(client, '?q="where do"') == {"One"}
    assert titles(client, "?q=zebras lions") == set()
    assert titles(client, "?q=tw") == {"Two"}
    assert titles(client, "?q=100%25") == set()


def test_searching_is_recorded(client: Client) -> None:
    titles(client, "?q=zebras")
    listed(client, "message/?q=lions")
    assert set(readings()) == {"Searched messages for “zebras”.", "Searched messages for “lions”."}


def test_without_the_permission_search_finds_no_content() -> None:
    client = signed_in(*VIEW)
    sent = answered("Where do zebras live?", title="One")
    assert titles(client, "?q=zebras") == set()
    assert listed(client, "message/?q=zebras") == []
    assert titles(client, "?q=one") == {"One"}
    assert titles(client, "?q=ann") == {"One"}
    assert titles(client, f"?q={sent.conversation.public_id}") == {"One"}
    assert readings() == []


@pytest.mark.parametrize("lookup", ["text__icontains=zebras", "parts__icontains=zebras", "text=x"])
def test_content_cannot_be_guessed_through_the_address(lookup: str, client: Client) -> None:
    answered("Where do zebras live?")
    response = client.get(f"{ADMIN}message/?{lookup}")
    assert response.status_code == 400


@pytest.mark.parametrize(
    "path", ["event/?data__icontains=z", "generation/?message__text__icontains=z", "event/?generation__message__text=z"]
)
def test_nor_through_another_list(path: str, client: Client) -> None:
    assert client.get(ADMIN + path).status_code == 400


def test_conversations_are_filtered(client: Client) -> None:
    answered(title="Fine", owner="ann")
    answered(title="Broken", status="failed", owner="bob")
    ask(conversation(title="Busy", owner=user("cyd")))
    conversation(title="Empty")
    dear = answered(title="Dear", owner="ann")
    UsageRecord.objects.filter(conversation=dear.conversation).update(cost="0.5")
    assert titles(client, "?answers=active") == {"Busy"}
    assert titles(client, "?answers=error") == {"Broken"}
    assert titles(client, "?answers=failed") == {"Broken"}
    assert titles(client, "?answers=completed") == {"Fine", "Dear"}
    assert titles(client, "?owner=ann") == {"Fine", "Dear"}
    assert titles(client, "?owner=nobody") == set()
    assert titles(client, "?of_model=default") == {"Fine", "Broken", "Busy", "Dear"}
    assert titles(client, "?cost_from=0.1") == {"Dear"}
    assert titles(client, "?cost_from=1") == set()
    assert titles(client, "?cost_from=NaN") == {"Fine", "Broken", "Busy", "Empty", "Dear"}
    assert titles(client, "?owner=ann&cost_from=0.1&q=dea") == {"Dear"}


def test_generations_are_filtered(client: Client) -> None:
    fine, broken = answered(owner="ann").generation, answered(status="failed", owner="bob").generation
    busy, stale = ask(conversation()).generation, ask(conversation()).generation
    lapse(stale)
    UsageRecord.objects.filter(generation=fine).update(cost=2)

    def found(query: str) -> set[int]:
        return {row.pk for row in listed(client, f"generation/?{query}")}

    assert found("status__exact=running") == {busy.pk, stale.pk}
    assert found("lease=lapsed") == {stale.pk}
    assert found("error=any") == {broken.pk}
    assert found("error_code=provider_timeout") == {broken.pk}
    assert found("owner=bob") == {broken.pk}
    assert found("cost_from=1") == {fine.pk}
    assert found("of_model=default") == {fine.pk, broken.pk, busy.pk, stale.pk}


def test_the_other_lists_are_filtered(client: Client) -> None:
    sent, other = answered(owner="ann"), answered(owner="bob", status="stopped")
    assert {row.status for row in listed(client, "message/?status=stopped")} == {"stopped"}
    assert {row.conversation_id for row in listed(client, "message/?owner=ann")} == {sent.conversation.pk}
    assert {row.type for row in listed(client, "event/?of_type=message-end")} == {"message-end"}
    assert {row.user_id for row in listed(client, "usagerecord/?username=bob")} == {other.conversation.owner_id}
    assert len(listed(client, "usagerecord/?estimated__exact=1")) == 2


def test_a_filter_that_is_typed_in_keeps_the_others(client: Client) -> None:
    html = body(client.get(f"{ADMIN}conversation/?answers=error&owner=ann&q=x%22y&p=1"))
    form = html.partition('class="llmstream-text-filter"')[2].partition("</form>")[0]
    assert '<input type="hidden" name="answers" value="error">' in form
    assert '<input type="hidden" name="q" value="x&quot;y">' in form
    assert 'name="owner" value="ann"' in form
    assert 'name="p"' not in form


def test_lists_show_figures_of_their_rows(client: Client) -> None:
    sent = answered(title="Talk")
    ask(sent.conversation)
    UsageRecord.objects.update(cost="0.25")
    html = body(client.get(f"{ADMIN}conversation/"))
    assert "2, 1 at work" in html
    assert "0.2500" in html


@pytest.mark.parametrize("name", MODELS)
def test_nobody_adds_rows(name: str) -> None:
    assert superuser().get(f"{ADMIN}{name}/add/").status_code == 403


@pytest.mark.parametrize("name", MODELS[1:])
def test_what_the_log_wrote_cannot_be_changed_or_deleted(name: str) -> None:
    client, sent = superuser(), answered()
    rows: dict[str, Any] = {
        "message": sent.answer,
        "generation": sent.generation,
        "event": Event.objects.latest("pk"),
        "usagerecord": UsageRecord.objects.latest("pk"),
    }
    address = f"{ADMIN}{name}/{rows[name].pk}/"
    before = list(type(rows[name]).objects.values())
    assert client.get(f"{address}change/").status_code == 200
    assert client.post(f"{address}change/", {"status": "running", "text": "x"}).status_code == 403
    assert client.post(f"{address}delete/", {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": rows[name].pk, "post": "yes"}
    client.post(f"{ADMIN}{name}/", data)
    assert list(type(rows[name]).objects.values()) == before


def test_a_user_with_conversations_can_still_be_deleted() -> None:
    client, sent = superuser(), answered(owner="ann")
    address = f"/admin/auth/user/{sent.conversation.owner_id}/delete/"
    assert "Are you sure" in body(client.get(address))
    assert client.post(address, {"post": "yes"}).status_code == 302
    assert not Conversation.objects.exists()
    assert not Message.objects.exists()
    assert not Generation.objects.exists()
    assert UsageRecord.objects.get().user_id is None


@pytest.mark.parametrize("query", ["q=%00", "owner=a%00", "answers=%00", "title__exact=%00"])
def test_what_no_database_can_hold_is_a_bad_request(query: str, client: Client) -> None:
    assert client.get(f"{ADMIN}conversation/?{query}").status_code == 400


def test_events_are_filtered_by_every_type_that_is_stored(client: Client) -> None:
    answered()
    choices = client.get(f"{ADMIN}event/").context["cl"].filter_specs[0].lookup_choices
    assert [value for value, _ in choices] == list(STORED)
    assert set(Event.objects.values_list("type", flat=True)) <= set(STORED)
