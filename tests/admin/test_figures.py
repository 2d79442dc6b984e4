"""Figures: what they add up, for which rows, and how they are drawn."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest
from django.test import Client
from django.utils import timezone

from llmstream.admin.charts import HEIGHT, Bar, Chart
from llmstream.models import Generation, UsageRecord

from .staff import ADMIN, VIEW, answered, body, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    """Somebody without the permission to read content, which figures do not hold."""
    return signed_in(*VIEW)


def spent(owner: str, *, days_ago: int = 0, cost: str | None = "0.5", status: str = "completed") -> Generation:
    """Return an ended generation with known figures: 10 in, 20 out, 0.5 s to the first token, 4 s of writing."""
    generation = answered(owner=owner, status=status).generation
    start = timezone.now() - timedelta(days=days_ago, seconds=10)
    Generation.objects.filter(pk=generation.pk).update(
        created_at=start,
        started_at=start,
        first_token_at=start + timedelta(seconds=0.5),
        ended_at=start + timedelta(seconds=4.5),
    )
    UsageRecord.objects.filter(generation=generation).update(
        input_tokens=10, output_tokens=20, cost=cost, created_at=start
    )
    return generation


def figures(client: Client, path: str) -> Any:
    """Return the tables of a page of figures: by model, by user."""
    context = client.get(ADMIN + path).context
    return [dict(table["rows"]) for table in context["tables"]]


@pytest.mark.parametrize("name", ["generation", "usagerecord"])
def test_figures_add_up(name: str, client: Client) -> None:
    for _ in range(2):
        spent("ann")
    spent("bob", status="failed", cost=None)
    by_model, by_user = figures(client, f"{name}/figures/")
    total = by_model["default"]
    assert (total.answers, total.errors, total.input, total.output) == (3, 1, 30, 60)
    assert total.cost == Decimal(1)
    assert total.first_token == pytest.approx(0.5)
    assert total.speed == pytest.approx(5)
    assert list(by_user) == ["ann", "bob"]
    assert (by_user["ann"].tokens, by_user["bob"].cost) == (60, 0)


@pytest.mark.parametrize(
    ("path", "users"),
    [
        ("generation/figures/?owner=ann", {"ann"}),
        ("generation/figures/?error=any", {"bob"}),
        ("usagerecord/figures/?username=bob", {"bob"}),
        ("generation/figures/?q=nothing", set()),
    ],
)
def test_figures_are_of_what_the_filters_leave(path: str, users: set[str], client: Client) -> None:
    spent("ann")
    spent("bob", status="failed")
    assert set(figures(client, path)[1]) == users


def test_without_a_date_only_the_last_days_count(client: Client) -> None:
    spent("ann", days_ago=40)
    spent("bob", days_ago=20)
    assert set(figures(client, "generation/figures/")[1]) == {"bob"}
    since = (timezone.now() - timedelta(days=60)).strftime("%Y-%m-%d %H:%M:%S+00:00").replace("+", "%2B")
    assert set(figures(client, f"generation/figures/?created_at__gte={since}")[1]) == {"ann", "bob"}


def test_every_day_has_a_bar_and_an_empty_one_too(client: Client) -> None:
    spent("ann", days_ago=5)
    spent("ann", days_ago=2)
    html = body(client.get(f"{ADMIN}generation/figures/"))
    svgs = [part.partition("</svg>")[0] for part in html.split("<svg")[1:]]
    drawings = [ElementTree.fromstring(f"<svg{svg}</svg>") for svg in svgs if "series-" in svg]
    assert len(drawings) == 6
    for drawing in drawings:
        assert len(drawing.findall("g")) == 4
        assert all(not {"style", "onclick"} & set(element.attrib) for element in drawing.iter())


def test_the_tallest_bar_fills_the_drawing() -> None:
    chart = Chart("Tokens", "", [Bar("a", [1, 3]), Bar("b", [2, 0])])
    (_first, tall), (_second, short) = chart.drawn()
    assert sum(float(rect.height) for rect in tall) == HEIGHT
    assert sum(float(rect.height) for rect in short) == HEIGHT / 2
    assert float(tall[1].y) == 0
    assert float(tall[0].y) + float(tall[0].height) == HEIGHT


def test_nothing_is_drawn_of_nothing(client: Client) -> None:
    assert "There is nothing to draw." in body(client.get(f"{ADMIN}usagerecord/figures/"))


def test_figures_cost_a_bounded_number_of_queries(client: Client, django_assert_num_queries: Any) -> None:
    for number in range(5):
        spent(f"owner{number}", days_ago=number)
    client.get(f"{ADMIN}generation/figures/")
    with django_assert_num_queries(12):
        client.get(f"{ADMIN}generation/figures/")


def test_who_may_not_see_the_list_sees_no_figures() -> None:
    assert signed_in("view_conversation").get(f"{ADMIN}usagerecord/figures/").status_code == 403


def test_the_list_leads_to_the_figures_of_its_filters(client: Client) -> None:
    assert 'href="figures/?owner=ann"' in body(client.get(f"{ADMIN}generation/?owner=ann"))
