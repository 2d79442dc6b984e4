"""What an answer may come to: its time, its output, and what its service is told about that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import UsageRecord
from llmstream.providers.base import ChatMessage, ProviderRequest, ReasoningDelta
from llmstream.providers.chat_messages import chat_request
from llmstream.providers.content_turns import content_arguments
from llmstream.providers.message_turns import message_request
from llmstream.providers.response_input import response_request
from tests.support import Upstream, asked, check_log, ended, model, site, stored_one, within

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


async def test_an_answer_that_takes_too_long_is_ended_and_keeps_its_text(
    running: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, later = Upstream(), running.loop.call_later
    limits: list[Callable[[], object]] = []

    def note(delay: float, callback: Any, *args: Any, **context: Any) -> asyncio.TimerHandle:
        if delay == 600.0:
            limits.append(partial(callback, *args))
        return later(delay, callback, *args, **context)

    monkeypatch.setattr(running.loop, "call_later", note)
    with site(upstream, MAX_GENERATION_SECONDS=600.0):
        sent = await asked(running)
        upstream.say("some text")
        await stored_one(sent.conversation, "text-delta")
        (over,) = limits
        over()  # Ten minutes later: a limit that runs by itself may come before the text.
        generation = await ended(sent.generation)
        await within(upstream.closed.wait())
    assert (generation.status, generation.finish_reason, generation.error_code) == ("stopped", "time", "")
    assert (generation.message.text, generation.stop_requested_at) == ("some text", None)
    record = await run_db(UsageRecord.objects.get)
    assert (record.output_tokens, record.estimated) == (3, True)
    assert (await run_db(check_log, sent.conversation))[-1]["finish_reason"] == "time"


@pytest.mark.parametrize("kind", [str, ReasoningDelta])
async def test_a_service_that_ignores_the_limit_of_output_is_cut(running: Engine, kind: Any) -> None:
    asked_for: list[int] = []

    async def endless(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        asked_for.append(request.max_output_tokens)
        while True:
            yield kind("word ")
            await asyncio.sleep(0)

    with site(models={"default": model(endless, MAX_OUTPUT_TOKENS=50)}):
        generation = await ended((await asked(running)).generation)
    assert (generation.status, generation.finish_reason) == ("completed", "length")
    assert sum(len(part["text"]) for part in generation.message.parts) == 405
    assert asked_for == [50]


def told(name: str, most: int, **options: Any) -> Any:
    """Return what a service is told of its output, and under which name."""
    request = ProviderRequest("g", "m", [ChatMessage("user", "Hi")], options, max_output_tokens=most)
    if name == "gemini":
        return content_arguments(request)["config"].max_output_tokens
    body = {"chat": chat_request, "responses": response_request, "anthropic": message_request}[name](request)
    return {key: value for key, value in body.items() if "max" in key}


@pytest.mark.parametrize(
    ("name", "most", "options", "expected"),
    [
        ("chat", 0, {}, {}),
        ("chat", 0, {"max_tokens": 9}, {"max_tokens": 9}),
        ("chat", 50, {}, {"max_completion_tokens": 50}),
        ("chat", 50, {"max_tokens": 90}, {"max_tokens": 50}),
        ("chat", 50, {"max_tokens": 20}, {"max_tokens": 20}),
        ("responses", 50, {}, {"max_output_tokens": 50}),
        ("responses", 50, {"max_output_tokens": 20}, {"max_output_tokens": 20}),
        ("anthropic", 0, {}, {"max_tokens": 8192}),
        ("anthropic", 50, {}, {"max_tokens": 50}),
        ("anthropic", 20_000, {}, {"max_tokens": 20_000}),
        ("gemini", 0, {}, None),
        ("gemini", 50, {}, 50),
        ("gemini", 50, {"max_output_tokens": 20}, 20),
    ],
)
def test_each_service_is_told_in_its_own_words(name: str, most: int, options: Any, expected: Any) -> None:
    assert told(name, most, **options) == expected
