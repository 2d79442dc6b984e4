"""Prices: which one counts, what a call then costs, and who may change them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmstream.conf import Rates
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.endings import stop
from llmstream.generations.figures import cost_of, cost_text
from llmstream.ledger import usage_of
from llmstream.log.group import commit
from llmstream.models import Price, UsageRecord
from llmstream.prices import rates_of
from llmstream.providers.base import Finish, ProviderRequest, Usage
from tests.admin.staff import ADMIN, signed_in
from tests.log.test_group import write
from tests.support import ask, asked, conversation, ended, model, site, stored, stored_one, user

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

NOW = timezone.now()
RATES = Rates(Decimal(10), Decimal(20), cached=Decimal(1), reasoning=Decimal(40))


def price(days: float, amount: float, key: str = "default") -> Price:
    """Store a price that is valid from so many days from now."""
    return Price.objects.create(model=key, valid_from=NOW + timedelta(days=days), input=amount, output=amount)


def charged(at: float = 0, key: str = "default") -> Decimal | None:
    """Return what a million tokens of input cost on a day."""
    rates = rates_of(key, NOW + timedelta(days=at))
    return None if rates is None else rates.input


async def counted(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Answer with figures."""
    yield "Hello"
    yield Usage(1_000, 500, reasoning_tokens=100, cached_tokens=400)
    yield Finish("stop")


def priced(**prices: Any) -> dict[str, Any]:
    """Return models of which one has prices in the settings."""
    return {"default": model(counted, PRICES=prices), "free": model(counted)}


def test_the_newest_valid_price_counts() -> None:
    assert charged() is None
    price(-3, 1)
    price(2, 3)
    price(-1, 2)
    assert [charged(day) for day in (-4, -3, -2, -1, 0, 1, 2, 3)] == [None, 1, 1, 2, 2, 2, 3, 3]
    price(-1, 5)
    assert charged() == 5
    assert charged(key="other") is None


def test_the_settings_count_where_there_is_no_price_yet() -> None:
    with site(models=priced(INPUT="0.5", OUTPUT=1)):
        assert [charged(), charged(key="free")] == [Decimal("0.5"), None]
        price(-1, 2)
        assert [charged(-2), charged()] == [Decimal("0.5"), 2]


def test_a_change_is_seen_here_at_once_and_elsewhere_when_the_copy_is_old() -> None:
    row = price(-1, 1)
    with site(PRICE_TTL=60):
        assert charged() == 1
        Price.objects.filter(pk=row.pk).update(input=2)  # as another process would
        assert charged() == 1
        price(-1, 3)
        assert charged() == 3
    with site(PRICE_TTL=0):
        Price.objects.update(input=4)
        assert charged() == 4


def test_prompts_do_not_read_the_prices_each() -> None:
    with site(models=priced(INPUT=1)):
        ask(conversation())
        with CaptureQueriesContext(connection) as queries:
            ask(conversation())
    assert not [query for query in queries.captured_queries if Price._meta.db_table in query["sql"]]


@pytest.mark.parametrize(
    ("usage", "rates", "cost"),
    [
        (Usage(1_000_000, 1_000_000), RATES, "30"),
        (Usage(1_000, 500, reasoning_tokens=100, cached_tokens=400), RATES, "0.0184"),
        (Usage(1_000, 500, reasoning_tokens=100, cached_tokens=400), Rates(Decimal(10), Decimal(20)), "0.02"),
        (Usage(10, 0, cached_tokens=50), RATES, "0.00001"),
        (Usage(1_000, 0, cached_tokens=400, cache_write_tokens=100), RATES, "0.0064"),
        (Usage(1_000, 0, cached_tokens=400, cache_write_tokens=100), replace(RATES, cache_write=Decimal(50)), "0.0104"),
        (Usage(10, 0, cached_tokens=4, cache_write_tokens=50), replace(RATES, cache_write=Decimal(50)), "0.000304"),
        (Usage(1, 0), Rates(Decimal("0.004")), "0"),
        (Usage(1, 0), Rates(Decimal("0.005")), "0.00000001"),
        (Usage(5, 5, cost=Decimal("0.25")), RATES, "0.25"),
        (Usage(5, 5, cost=Decimal(0)), RATES, "0"),
        (Usage(10**12, 10**13), RATES, "99999999.99999999"),
        (Usage(5, 5), None, None),
    ],
)
def test_what_a_call_costs(usage: Usage, rates: Rates | None, cost: str | None) -> None:
    assert cost_text(cost_of(usage, rates)) == cost


async def test_the_event_and_the_ledger_have_the_cost(running: Engine) -> None:
    with site(models=priced(INPUT=10, OUTPUT=20, CACHED=1, REASONING=40)):
        sent = await asked(running)
        await ended(sent.generation)
    assert (await stored_one(sent.conversation, "usage"))["cost"] == "0.0184"
    record = await run_db(UsageRecord.objects.get)
    assert (record.cost, record.estimated) == (Decimal("0.0184"), False)


async def test_an_answer_is_charged_at_the_price_of_its_beginning(running: Engine) -> None:
    await run_db(price, -1, 1)
    with site(counted):
        sent = await run_db(ask, await run_db(conversation))
        await run_db(Price.objects.create, model="default", input=100, output=100)
        assert sent.claim is not None
        running.start(sent.claim)
        await ended(sent.generation)
    assert (await run_db(UsageRecord.objects.get)).cost == Decimal("0.0015")


def test_a_stopped_call_costs_what_it_is_estimated_at() -> None:
    with site(models=priced(INPUT=10, OUTPUT=20)):
        sent = ask(conversation(), "x" * 40)
        commit([write(sent, "y" * 80)])
        stop(sent.generation.pk)
        record = UsageRecord.objects.get()
    assert (record.input_tokens, record.output_tokens, record.estimated) == (10, 20, True)
    assert record.cost == Decimal("0.0005")
    assert stored(sent.conversation)[-2]["cost"] == "0.0005"


def test_totals_add_up_what_there_is() -> None:
    with site(models=priced(INPUT=10, OUTPUT=20), CURRENCY="EUR"):
        mine = conversation(owner=user())
        first, second = ask(mine, "x" * 40), None
        commit([write(first, "y" * 80)])
        stop(first.generation.pk)
        second = ask(mine, "z" * 40, model="free")
        stop(second.generation.pk)
        stop(ask(conversation(owner=user("bob"))).generation.pk)
        with CaptureQueriesContext(connection) as queries:
            whole = usage_of(mine)
        assert len(queries) == 1
        assert (whole.calls, whole.estimated, whole.unpriced, whole.currency) == (2, 2, 1, "EUR")
        assert (whole.output_tokens, whole.cost) == (20, Decimal("0.0005"))
        assert usage_of(user()) == whole
        one = usage_of(first.generation)
        assert (one.calls, one.input_tokens, one.cost) == (1, 10, Decimal("0.0005"))
        assert usage_of(first.answer) == one
        assert usage_of(first.message).calls == 0
        assert usage_of(mine, since=timezone.now() + timedelta(seconds=60)).calls == 0


def test_prices_are_added_in_the_admin_and_never_changed() -> None:
    client = signed_in("view_price", "add_price", "change_price", "delete_price")
    page = f"{ADMIN}price/"
    given = {"model": "default", "valid_from_0": "2026-01-01", "valid_from_1": "00:00:00", "input": "2", "output": "8"}
    assert client.post(f"{page}add/", given).status_code == 302
    row = Price.objects.get()
    assert (row.input, row.output, row.cached) == (2, 8, None)
    assert charged() == 2
    assert "default" in client.get(page).content.decode()
    assert client.get(f"{page}{row.pk}/change/").status_code == 200
    for forbidden in (f"{page}{row.pk}/change/", f"{page}{row.pk}/delete/"):
        assert client.post(forbidden, {**given, "input": "1"}).status_code == 403
    assert client.post(f"{page}add/", {**given, "model": "unheard of"}).status_code == 200
    assert client.post(f"{page}add/", {**given, "input": "-1"}).status_code == 200
    assert Price.objects.count() == 1
