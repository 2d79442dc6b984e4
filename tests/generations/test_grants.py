"""Answers under limits: what they reserve as they grow, and how they end when nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.exceptions import BudgetExceeded
from llmstream.generations.claims import claim_next
from llmstream.generations.endings import stop
from llmstream.ledger import usage_of
from llmstream.models import Generation, UsageRecord
from llmstream.providers.base import Finish, ProviderRequest, ToolCall, Usage
from tests.support import PATIENCE, Upstream, ask, ask_in, check_log, ended, site, user, within

from .budgets import WORDS, limited, own, refused, used

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


async def test_an_answer_ends_when_nothing_is_left_and_keeps_its_text(running: Engine) -> None:
    with limited(TOKENS_PER_DAY=1_000):
        sent = await ask_in(running, await run_db(own), WORDS)
        generation = await ended(sent.generation)
        assert (generation.status, generation.finish_reason, generation.error_code) == ("stopped", "budget", "")
        assert generation.stop_requested_at is None
        totals = await run_db(usage_of, generation)
        # At most one piece more than there was room for.
        assert 1_000 < totals.input_tokens + totals.output_tokens <= 1_010
        assert len(generation.message.text) == totals.output_tokens * 4
        assert (await run_db(check_log, sent.conversation))[-1]["finish_reason"] == "budget"
        await run_db(refused, await run_db(own), BudgetExceeded)


async def test_answers_at_once_share_what_is_left(running: Engine) -> None:
    with limited(COST_PER_DAY="0.1", prices={"INPUT": 10, "OUTPUT": 20}):
        sents = [await run_db(ask, await run_db(own), WORDS) for _ in range(5)]
        for claim in (sent.claim for sent in sents if sent.claim):
            running.start(claim)
        generations = await asyncio.gather(*[ended(sent.generation) for sent in sents])
        assert {generation.finish_reason for generation in generations} == {"budget"}
        spent = (await run_db(usage_of, await run_db(user))).cost
        # Each may be a piece of ten tokens over.
        assert Decimal("0.0985") < spent <= Decimal("0.101")


async def test_a_limit_that_is_lifted_holds_no_longer(running: Engine) -> None:
    upstream = Upstream()
    with limited(upstream, TOKENS_PER_DAY=200):
        sent = await ask_in(running, await run_db(own), WORDS)
        await within(upstream.called.wait())
    with site(upstream):
        upstream.say(*[WORDS] * 40)
        upstream.finish()
        assert (await ended(sent.generation)).status == "completed"


async def test_long_answers_reserve_more_and_more_at_a_time(running: Engine) -> None:
    upstream = Upstream()
    with limited(upstream, TOKENS_PER_DAY=10**6):
        sent = await ask_in(running, await run_db(own), WORDS)
        upstream.say(*[WORDS] * 1_000)
        reserved: set[int] = set()
        async with asyncio.timeout(PATIENCE):
            # 100 at first, then 200, 400 and so on beyond what was written.
            while max(reserved, default=0) <= 10_000:
                reserved.add((await run_db(Generation.objects.get, pk=sent.generation.pk)).reserved_tokens)
        upstream.finish()
        assert (await ended(sent.generation)).status == "completed"
    assert len(reserved) <= 9


async def test_every_model_call_of_an_answer_counts(running: Engine) -> None:
    async def talker(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        yield WORDS
        yield Usage(300, 10)
        yield ToolCall("c", "nothing", "{}")
        yield Finish("tool_calls")

    with limited(talker, TOKENS_PER_DAY=1_000):
        sent = await ask_in(running, await run_db(own), WORDS)
        generation = await ended(sent.generation)
        assert (generation.status, generation.finish_reason) == ("stopped", "budget")
        totals = await run_db(usage_of, generation)
    # After the third call 930 are used, and the next one's history takes what is left.
    assert (totals.calls, totals.estimated) == (3, 0)


async def test_a_prompt_that_has_waited_reserves_anew_when_it_begins(running: Engine) -> None:
    with limited(TOKENS_PER_DAY=400):
        owner = await run_db(own)
        first = await run_db(ask, owner, WORDS)
        await run_db(ask, owner, WORDS, busy="queue")
        await run_db(stop, first.generation.pk)
        await run_db(used, 385, await run_db(own))
        claim, _ = await run_db(claim_next, owner.pk)
        assert claim is not None
        assert claim.granted == 0
        running.start(claim)
        generation = await ended(await run_db(Generation.objects.get, pk=claim.generation))
    assert (generation.status, generation.finish_reason, generation.message.text) == ("stopped", "budget", "")
    assert await run_db(UsageRecord.objects.filter(generation=generation).count) == 0
