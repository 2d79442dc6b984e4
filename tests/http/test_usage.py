"""What clients are told of what they have used, and of what they may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from llmstream.generations.endings import stop
from llmstream.log.group import commit
from llmstream.models import Message, UsageRecord
from tests.http.client import JSON, SSE, conversation_path, own, signed_in_sync
from tests.log.test_group import write
from tests.support import ask, changed

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_conversation_says_what_it_has_used() -> None:
    client, owner = signed_in_sync(), own()
    path = conversation_path(owner)
    nothing: dict[str, object] = dict.fromkeys(("calls", "input", "output", "reasoning", "cached", "cache_write"), 0)
    nothing |= {"cost": "0", "estimated": 0}
    assert client.get(path).json()["usage"] == {**nothing, "currency": "USD"}
    sent = ask(owner, "x" * 40)
    commit([write(sent, "y" * 80)])
    stop(sent.generation.pk)
    UsageRecord.objects.update(cost="0.0120")
    used = {**nothing, "calls": 1, "input": 10, "output": 20, "cost": "0.012", "estimated": 1}
    with changed(CURRENCY="EUR"):
        assert client.get(path).json()["usage"] == {**used, "currency": "EUR"}


@pytest.mark.parametrize("accept", [JSON, SSE], ids=["json", "sse"])
@pytest.mark.parametrize(
    ("limits", "status", "code", "temporary"),
    [
        ({"TOKENS_PER_DAY": 5}, 402, "budget_exceeded", False),
        ({"COST_PER_MONTH": 0}, 402, "budget_exceeded", False),
        ({"TOKENS_PER_MINUTE": 5}, 429, "too_many_tokens", True),
        ({"PROMPTS_PER_MINUTE": 0}, 429, "too_many_prompts", True),
        ({"GENERATIONS": 0}, 429, "too_many_generations", True),
    ],
)
async def test_a_refused_prompt_is_told_why_and_for_how_long(
    accept: dict[str, str], limits: Any, status: int, code: str, temporary: bool, async_client: Any
) -> None:
    owner = await sync_to_async(own)()
    await async_client.aforce_login(owner.owner)
    with changed(LIMITS={"USER": limits}):
        response = await async_client.post(
            conversation_path(owner, "messages/"),
            json.dumps({"content": "x" * 40}),
            content_type="application/json",
            headers=accept,
        )
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["temporary"]) == (status, code, temporary)
    assert error["retry_after_ms"] > 0
    assert int(response["Retry-After"]) * 1_000 >= error["retry_after_ms"]
    assert not await Message.objects.aexists()
