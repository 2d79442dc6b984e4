"""Budgets: refused before an answer begins, ended while it is written, exact over threads, right after a crash."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmstream.conf import Limits
from llmstream.exceptions import (
    BudgetExceeded,
    TooManyGenerations,
    TooManyPrompts,
    TooManyTokens,
)
from llmstream.generations import uses
from llmstream.generations.endings import delete_conversation, stop
from llmstream.generations.prompts import Prompt, Sent, retry, send
from llmstream.generations.recovery import sweep
from llmstream.generations.windows import Windows
from llmstream.ledger import usage_of
from llmstream.models import Conversation, Generation, Turnstile, UsageRecord
from llmstream.quotas import Quota, account_of
from tests.generations.test_races import at_once
from tests.support import ask, conversation, model, site, user

from .budgets import WORDS, endless, granted, limited, month_ago, own, refused, used

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def test_what_has_been_used_is_refused_until_the_day_or_month_is_over() -> None:
    owner = own()
    with limited(TOKENS_PER_DAY=1_000):
        used(1_000, owner, ago=month_ago())
        assert ask(own()).claim
        used(970, owner)
        error = refused(owner, BudgetExceeded)
        assert 0 < (error.retry_after_ms or 0) <= 25 * 3_600_000
        assert (error.status, error.temporary) == (402, False)
        assert ask(own("bob")).claim
    with limited(COST_PER_MONTH=2, prices={"INPUT": 1, "OUTPUT": 1}):
        used(5, owner, cost="1.5")
        assert ask(own()).claim
        used(5, owner, cost="0.5")
        assert (refused(owner, BudgetExceeded).retry_after_ms or 0) <= 31 * 25 * 3_600_000


def test_a_prompt_that_is_too_long_for_what_is_left_is_refused() -> None:
    with limited(TOKENS_PER_DAY=1_000):
        refused(own(), BudgetExceeded, "x" * 4_000)
        assert ask(own(), "x" * 3_900).claim


def test_what_runs_is_reserved_and_what_has_ended_is_not() -> None:
    owner = own()
    with limited(TOKENS_PER_DAY=250):
        first = ask(owner, WORDS)
        assert (first.generation.reserved_tokens, first.generation.account) == (110, f"user:{owner.owner_id}")
        second = ask(own(), WORDS)
        assert second.generation.reserved_tokens == 110
        assert granted(second) == 100
        third = ask(own(), WORDS)
        assert granted(third) == 20
        refused(own(), BudgetExceeded)
        for sent in (first, second, third):
            stop(sent.generation.pk)
        assert usage_of(user()).input_tokens == 30
        assert ask(own(), WORDS).claim


def test_what_is_retried_or_queued_counts_too() -> None:
    with limited(TOKENS_PER_DAY=118):
        first = ask(own(), WORDS)
        refused(first.conversation, BudgetExceeded, busy="queue")
        stop(first.generation.pk)
        used(115, first.conversation)
        with pytest.raises(BudgetExceeded):
            retry(first.generation.pk)


def test_a_refused_prompt_interrupts_nothing() -> None:
    with limited(TOKENS_PER_DAY=500):
        first = ask(own(), WORDS)
        refused(first.conversation, BudgetExceeded, "x" * 4_000, busy="interrupt")
    assert Generation.objects.get(pk=first.generation.pk).status == "running"


def test_tokens_and_prompts_of_the_last_minute() -> None:
    owner = own()
    with limited(TOKENS_PER_MINUTE=1_000):
        used(900, owner, ago=61)
        assert ask(owner).claim
        used(990, owner, ago=20)
        error = refused(own(), TooManyTokens)
        assert 2_000 < (error.retry_after_ms or 0) <= 40_000
        assert (error.status, error.temporary) == (429, True)
    with limited(PROMPTS_PER_MINUTE=3):
        other = own("bob")
        stop(ask(other).generation.pk)
        Generation.objects.filter(conversation=other).update(created_at=timezone.now() - timedelta(seconds=61))
        for _ in range(3):
            stop(ask(other).generation.pk)
        assert 2_000 < (refused(other, TooManyPrompts).retry_after_ms or 0) <= 60_000


def test_answers_at_once() -> None:
    with limited(GENERATIONS=2):
        first = ask(own())
        ask(first.conversation, busy="queue")
        assert refused(own(), TooManyGenerations).temporary
        assert ask(own("bob")).claim
        stop(first.generation.pk)
        assert ask(own()).claim


def test_a_visitor_has_limits_of_their_own_or_those_of_users() -> None:
    visitor = conversation(anonymous_id="v" * 22)
    used(500, visitor)
    with limited(who="VISITOR", TOKENS_PER_DAY=500):
        refused(visitor, BudgetExceeded)
        assert ask(own()).claim
        assert ask(conversation(anonymous_id="w" * 22)).claim
        assert ask(conversation()).claim
    with limited(TOKENS_PER_DAY=500):
        refused(visitor, BudgetExceeded)


def test_the_site_s_limits_are_for_everybody_together() -> None:
    with limited(who="SITE", TOKENS_PER_DAY=1_000, GENERATIONS=4):
        used(300, own())
        used(300, own("bob"))
        used(300, conversation(), ago=86_400 * 2)
        sent = ask(conversation(anonymous_id="v" * 22), WORDS)
        assert sent.generation.reserved_tokens == 110
        refused(own(), BudgetExceeded, "x" * 1_300)
        for _ in range(2):
            ask(conversation())
        assert ask(own()).claim
        refused(own(), TooManyGenerations)


def test_deleting_a_conversation_gives_nothing_back() -> None:
    with limited(TOKENS_PER_DAY=120):
        sent = ask(own(), WORDS)
        stop(sent.generation.pk)
        used(115, sent.conversation)
        delete_conversation(sent.conversation)
        refused(own(), BudgetExceeded)


def test_free_models_need_no_money_and_others_none_left_is_none() -> None:
    owner = own()
    used(5, owner, cost=3)
    with limited(COST_PER_DAY=2, prices={"INPUT": 0, "OUTPUT": 0}):
        assert ask(own()).claim
    with limited(COST_PER_DAY=2):
        refused(owner, BudgetExceeded)
    with limited(COST_PER_DAY=4):
        assert granted(ask(own())) == 100


def test_money_buys_what_its_price_says() -> None:
    with limited(COST_PER_DAY="0.0006", prices={"INPUT": 10, "OUTPUT": 20}):
        sent = ask(own(), WORDS)
    assert (granted(sent), sent.generation.reserved_cost) == (25, Decimal("0.0006"))


def test_figures_of_any_size_are_added_up() -> None:
    owner = own()
    for _ in range(3):
        used(10**12, owner, cost="99999999.99999999")
    with limited(TOKENS_PER_DAY=10**30, COST_PER_DAY=10**10):
        assert ask(own()).claim
    with limited(TOKENS_PER_DAY=10**12):
        refused(own(), BudgetExceeded)


class Plans(Quota):
    """A quota by the owner's name."""

    def limits(self, conversation: Conversation) -> Limits:
        """Ann may do a little."""
        name = conversation.owner.get_username() if conversation.owner else ""
        return Limits(tokens_per_day=Decimal(500)) if name == "ann" else Limits()

    def check(self, conversation: Conversation, model: str) -> None:
        """Bob may do nothing."""
        if conversation.owner and conversation.owner.get_username() == "bob":
            raise BudgetExceeded("Not you.")


def test_a_site_may_have_a_quota_of_its_own() -> None:
    with site(QUOTA="tests.generations.test_budgets.Plans"):
        used(500, own())
        refused(own(), BudgetExceeded)
        assert refused(own("bob"), BudgetExceeded).message == "Not you."
        assert ask(own("eve")).claim


def test_without_limits_a_prompt_costs_no_statement_more_and_with_them_one_or_two() -> None:
    def statements() -> list[str]:
        owner = own()
        with CaptureQueriesContext(connection) as queries:
            ask(owner)
        return [query["sql"] for query in queries.captured_queries]

    with site(endless):
        statements()
        free = statements()
    assert not [sql for sql in free if "usagerecord" in sql or Turnstile._meta.db_table in sql]
    with limited(TOKENS_PER_DAY=10**6, COST_PER_MONTH=5, GENERATIONS=99, PROMPTS_PER_MINUTE=99):
        statements()
        assert len(statements()) == len(free) + (1 if connection.vendor == "sqlite" else 2)


@pytest.mark.parametrize("who", ["USER", "SITE"])
def test_of_many_prompts_at_once_so_many_are_answered_as_there_is_room_for(who: str) -> None:
    with limited(who=who, TOKENS_PER_DAY=550):
        owners = [own() for _ in range(12)]
        outcomes = at_once(lambda: ask(owners.pop(), WORDS), 12)
        sent = [outcome for outcome in outcomes if isinstance(outcome, Sent)]
        assert {type(outcome) for outcome in outcomes} == {Sent, BudgetExceeded}
        assert sorted(found.generation.reserved_tokens for found in sent) == [110] * 5
    with limited(who=who, GENERATIONS=7):
        owners = [own() for _ in range(12)]
        outcomes = at_once(lambda: ask(owners.pop(), WORDS), 12)
        assert sum(isinstance(outcome, Sent) for outcome in outcomes) == 2


def test_a_crash_leaves_no_reservation_behind() -> None:
    with limited(TOKENS_PER_DAY=200):
        sent = ask(own(), WORDS)
        refused(own(), BudgetExceeded, "x" * 400)
        Generation.objects.filter(pk=sent.generation.pk).update(lease_expires_at=datetime(2020, 1, 1, tzinfo=UTC))
        sweep()
        assert usage_of(sent.generation).input_tokens == 10
        assert send(own().pk, Prompt("x" * 400)).claim


@pytest.mark.parametrize("who", ["USER", "SITE"])
def test_what_a_busy_account_used_long_ago_is_added_up_once(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uses, "BUSY", 5)
    noon, owner = datetime(2026, 5, 15, 12, tzinfo=UTC), own()
    key = account_of(owner) if who == "USER" else uses.SITE

    def record(count: int, at: datetime) -> None:
        for _ in range(count):
            used(10, owner, cost=1, ago=(timezone.now() - at).total_seconds())

    def read(now: datetime) -> tuple[int, ...]:
        with CaptureQueriesContext(connection) as queries:
            (use,) = uses.uses([key], Windows.at(now), monthly=True)
        return int(use.minute_tokens), int(use.day_tokens), int(use.day_cost), int(use.month_cost), len(queries)

    with limited(GENERATIONS=1):
        for count, ago in ((2, timedelta(days=20)), (4, timedelta(days=10)), (8, timedelta(hours=1))):
            record(count, noon - ago)
        record(3, noon - timedelta(seconds=30))
        assert read(noon) == (30, 110, 11, 15, 2)
        UsageRecord.objects.filter(created_at__lt=noon - timedelta(minutes=5)).delete()
        assert read(noon) == (30, 110, 11, 15, 1)
        record(3, noon + timedelta(seconds=30))
        assert read(noon + timedelta(minutes=1)) == (30, 140, 14, 18, 2)
        assert read(noon + timedelta(minutes=1)) == (30, 140, 14, 18, 1)
        assert read(noon + timedelta(hours=1)) == (0, 140, 14, 18, 2)
        assert read(noon + timedelta(hours=1)) == (0, 140, 14, 18, 1)
        record(1, noon + timedelta(days=1))
        assert read(noon + timedelta(days=1)) == (10, 10, 1, 19, 1)
        assert read(noon + timedelta(days=20)) == (0, 0, 0, 0, 1)


def test_days_and_months_begin_in_the_site_s_time_zone(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    windows = Windows.at(datetime(2026, 3, 28, 23, 30, tzinfo=UTC))
    assert windows.day == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert windows.next_day == datetime(2026, 3, 29, 22, tzinfo=UTC)  # the clock is put forward that night
    assert windows.month == datetime(2026, 2, 28, 23, tzinfo=UTC)
    assert windows.next_month == datetime(2026, 3, 31, 22, tzinfo=UTC)


def test_limits_of_numbers_alone_reserve_nothing() -> None:
    with limited(GENERATIONS=5, PROMPTS_PER_MINUTE=5):
        sent = ask(own(), WORDS)
        assert (granted(sent), sent.generation.reserved_tokens) == (None, 0)


def test_what_a_model_is_not_sent_is_not_counted() -> None:
    entry = model(endless, CONTEXT_TOKENS=500)
    with site(models={"default": entry}, LIMITS={"USER": {"TOKENS_PER_DAY": 1_000}}, RESERVE_TOKENS=100):
        sent = ask(own(), "x" * 40_000)
        assert sent.generation.reserved_tokens == 600
        stop(sent.generation.pk)
        assert usage_of(sent.generation).input_tokens == 500
