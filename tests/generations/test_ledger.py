"""The ledger against the upstream's own count, over real HTTP, with whatever can happen to an answer.

``LLMSTREAM_LEDGER`` is the number of answers, 40 by default.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.endings import stop
from llmstream.generations.recovery import hand_over
from llmstream.ledger import Totals, usage_of
from llmstream.models import Generation, UsageRecord
from tests.support import ask_in, check_log, conversation, ended, site, until, user, within
from tests.upstream import Exchange, Upstream

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

NUMBER = int(os.environ.get("LLMSTREAM_LEDGER") or 40)
TOGETHER = 20
PROVIDER = "llmstream.providers.openai.OpenAIProvider"
PRICES = {"INPUT": "2", "OUTPUT": "10", "CACHED": "0.5"}

#: What the upstream does. It counts 11 tokens of input, 4 of them cached, with every answer that it begins.
ACTS = {
    "whole": "answer?tokens={n}",
    "slow": "answer?tokens={n}&rate=200",
    "long": "answer?tokens=400&rate=100",
    "dear": "answer?tokens={n}&cost=0.25",
    "silent about it": "answer?tokens={n}&usage=0",
    "cut": "cut?after={n}",
    "broken": "broken?after={n}",
    "failing": "error?after={n}",
    "down": "status?code=500",
    "limited": "status?code=429",
}


class Told(NamedTuple):
    """An answer, what was to happen to it, and the upstream's side of it."""

    act: str
    fate: str
    generation: Generation
    exchange: Exchange
    records: list[UsageRecord]


def entry(url: str, act: str) -> dict[str, Any]:
    """Return the entry of a model."""
    options = {"base_url": url, "api_key": "none", "max_retries": 0}
    return {"PROVIDER": PROVIDER, "MODEL": act, "OPTIONS": options, "PRICES": PRICES, "RECOVERY": ["interrupt"]}


async def live(running: Engine, upstream: Upstream, act: str, fate: str, number: int) -> Told:
    """Ask for an answer and let its fate befall it."""
    owner = await run_db(conversation, owner=await run_db(user))
    sent = await ask_in(running, owner, f"Question {number}", model=act)
    exchange = await within(_exchange(upstream, sent.generation.public_id), 30)
    if fate != "none":
        await until(lambda: exchange.tokens >= number % 7 or exchange.finished is not None, 30)
    if fate == "stop":
        await run_db(stop, sent.generation.pk)
    elif fate == "kill":
        # As when its process dies: nothing of what it holds gets out, and another process ends it.
        if (run := running.runs.get(sent.generation.pk)) and run.task:
            run.task.cancel()
            await asyncio.wait([run.task])
        await run_db(hand_over, {sent.generation.pk: 1})
    generation = await ended(sent.generation, 30)
    await until(lambda: exchange.finished is not None or exchange.disconnected is not None, 30)
    records = await run_db(lambda: list(UsageRecord.objects.filter(generation=generation)))
    await run_db(check_log, owner)
    return Told(act.split("-")[0], fate, generation, exchange, records)


async def _exchange(upstream: Upstream, generation: str) -> Exchange:
    """Return the request that was made for a generation."""
    while True:
        for exchange in upstream.exchanges:
            if exchange.headers.get("x-client-request-id") == generation:
                return exchange
        await asyncio.sleep(0.005)


def check(told: Told) -> str:
    """Compare an answer's row with what the upstream counted; return of which kind it is."""
    exchange, generation = told.exchange, told.generation
    if told.act in ("down", "limited"):
        assert not told.records or told.fate != "none"
        assert sum(record.output_tokens for record in told.records) == 0
        return "unbilled"
    (record,) = told.records
    assert (record.model, record.account) == (generation.model, f"user:{record.user_id}")
    assert generation.status in ("completed", "stopped", "failed", "interrupted")
    if record.estimated:
        # It may have sent more than has reached us.
        sent = "".join(f"tok{number} " for number in range(exchange.tokens))
        assert sent.startswith(generation.message.text)
        assert record.output_tokens == -(-len(generation.message.text) // 4)
        assert record.input_tokens == -(-len(exchange.body["messages"][0]["content"]) // 4)
        assert record.cost == (record.input_tokens * 2 + record.output_tokens * 10) / Decimal(1_000_000)
        return "estimated"
    assert (record.input_tokens, record.cached_tokens) == (11, 4)
    assert record.output_tokens == exchange.tokens
    priced = (7 * 2 + 4 * Decimal("0.5") + exchange.tokens * 10) / Decimal(1_000_000)
    assert record.cost == (Decimal("0.25") if told.act == "dear" else priced)
    return "counted"


def total(records: list[UsageRecord]) -> Totals:
    """Add rows up by hand."""
    names = "input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "cost"
    sums: dict[str, Any] = {name: sum(getattr(record, name) or 0 for record in records) for name in names}
    return Totals(
        calls=len(records),
        estimated=sum(record.estimated for record in records),
        currency="USD",
        **sums,
    )


async def test_the_ledger_is_what_the_upstream_counted(running: Engine) -> None:
    chance = random.Random(4)
    with Upstream() as upstream:
        chosen = [chance.choice(list(ACTS)) for _ in range(NUMBER)]
        fates = [
            chance.choice(["stop", "kill"]) if act == "long" else chance.choice(["none", "none", "stop", "kill"])
            for act in chosen
        ]
        keys = [f"{act}-{number}" for number, act in enumerate(chosen)]
        models = {
            key: entry(upstream.url, ACTS[act].format(n=chance.randint(1, 40)))
            for key, act in zip(keys, chosen, strict=True)
        }
        with site(models=models, LIMITS={"USER": {"COST_PER_DAY": 1_000_000}}):
            told: list[Told] = []
            for first in range(0, NUMBER, TOGETHER):
                some = range(first, min(first + TOGETHER, NUMBER))
                told += await asyncio.gather(
                    *[live(running, upstream, keys[number], fates[number], number) for number in some]
                )
        assert len(upstream.exchanges) == NUMBER
    kinds = Counter(check(item) for item in told)
    assert set(kinds) == {"counted", "estimated", "unbilled"}
    assert await run_db(usage_of, await run_db(user)) == total([record for item in told for record in item.records])
    assert not await run_db(Generation.objects.filter(status__in=Generation.ACTIVE).exists)
    counted = [item for item in told if item.records and not item.records[0].estimated]
    print(
        f"{NUMBER} answers: {dict(kinds)},"
        f" {sum(item.exchange.tokens for item in counted)} tokens counted by the upstream and"
        f" {sum(item.records[0].output_tokens for item in counted)} in the ledger;"
        f" fates {dict(Counter(item.fate for item in told))}"
    )
