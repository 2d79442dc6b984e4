"""Agents: a function as a provider, its own tools, phases and data, and what endings make of its usage."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.exceptions import ProviderRateLimited
from llmstream.generations.endings import stop
from llmstream.models import ToolCall
from llmstream.providers.base import (
    Data,
    Finish,
    Phase,
    ProviderPart,
    ProviderRequest,
    ToolFinished,
    ToolStarted,
    Usage,
)
from llmstream.providers.base import ToolCall as Asked
from tests.support import Upstream, asked, check_log, ended, site, stored_one, types, until, within
from tests.tools.site import agent
from tests.tools.test_loop import ledger, results

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


async def researcher(request: ProviderRequest, greeting: str = "") -> AsyncGenerator[ProviderPart, None]:
    """Be an agent that runs its own tools."""
    yield Phase("searching", "the archive")
    yield ToolStarted("t1", "search", {"words": "rain"})
    yield ToolStarted("t2", "search", {"words": "sun"})
    yield ToolFinished("t2", failed=True)
    yield ToolFinished("t1", ["one"])
    yield ToolFinished("t3", "never begun")
    yield Data("chart", {"bars": [1, 2]})
    yield f"{greeting} Here it is."
    yield Finish("stop")


async def test_a_function_is_a_provider_and_what_it_does_is_shown(running: Engine) -> None:
    models = {"default": {"PROVIDER": f"{__name__}.researcher", "OPTIONS": {"greeting": "Hello."}}}
    with site(models=models):
        generation = await ended((await asked(running)).generation)
        events = await run_db(check_log, generation.conversation)
    assert generation.message.text == "Hello. Here it is."
    parts = generation.message.parts
    assert [part["type"] for part in parts] == ["tool", "tool", "data", "text"]
    assert results(parts) == [["one"], "tool_failed"]
    assert {key: value for key, value in events[3].items() if key in ("type", "name", "detail")} == {
        "type": "phase",
        "name": "searching",
        "detail": "the archive",
    }
    assert types(events).count("tool-result") == 2
    assert not await run_db(ToolCall.objects.exists)


@pytest.mark.parametrize(
    "part", [Data("d", object()), Data("d", "x" * 70_000), Phase("p", "x" * 70_000), ToolStarted("t", "n", {1, 2})]
)
async def test_what_an_agent_tells_is_json_within_the_limits(running: Engine, part: Any) -> None:
    upstream = Upstream()
    upstream.say("Some", part, Finish("stop"), None)
    with site(upstream):
        generation = await ended((await asked(running)).generation)
        await run_db(check_log, generation.conversation)
    assert (generation.status, generation.error_code) == ("failed", "provider_malformed")


async def test_an_agent_that_tells_too_much_has_failed(running: Engine) -> None:
    upstream = Upstream()
    upstream.say(*[Phase("p")] * 4, Finish("stop"), None)
    with site(upstream, MAX_TOOL_EVENTS=3):
        generation = await ended((await asked(running)).generation)
    assert generation.error_code == "provider_malformed"


async def test_what_no_database_can_hold_is_replaced(running: Engine) -> None:
    upstream = Upstream()
    upstream.say(Data("a\0b", {"x\0": ["\ud800", {"y": "\0"}]}), ToolStarted("t", "n\0", "\0"), Finish("stop"), None)
    with site(upstream):
        generation = await ended((await asked(running)).generation)
        await run_db(check_log, generation.conversation)
    data, call = generation.message.parts
    assert (data["name"], data["data"]) == ("a\ufffdb", {"x\ufffd": ["\ufffd", {"y": "\ufffd"}]})
    assert (call["tool"], call["input"]) == ("n\ufffd", "\ufffd")


async def test_a_call_that_is_stopped_is_estimated_and_the_ones_before_it_are_not(running: Engine) -> None:
    upstream = Upstream()
    with site(models={"default": agent("add", script=upstream)}, POLL_INTERVAL=60.0):
        sent = await asked(running)
        upstream.say(Asked("c", "add", '{"a": 1, "b": 1}'), Usage(7, 3), Finish("tool_calls"), None)
        await stored_one(sent.conversation, "tool-result")
        await until(lambda: len(upstream.requests) == 2)
        upstream.say("x" * 40)
        await stored_one(sent.conversation, "text-delta")
        await run_db(stop, sent.generation.pk)
        await within(upstream.closed.wait())
        await run_db(check_log, sent.conversation)
        first, second = await run_db(ledger, sent.generation)
    assert first == (7, 3, False)
    assert (second[1], second[2]) == (10, True)
    assert second[0] > 0


async def test_a_refused_second_call_costs_nothing(running: Engine) -> None:
    from_service = Upstream()
    with site(models={"default": agent("add", script=from_service)}):
        sent = await asked(running)
        from_service.say("Text. ", Asked("c", "add", '{"a": 1, "b": 1}'), Usage(7, 3), Finish("tool_calls"), None)
        await until(lambda: len(from_service.requests) == 2)
        from_service.say(ProviderRateLimited())
        generation = await ended(sent.generation)
        assert await run_db(ledger, sent.generation) == [(7, 3, False)]
    assert (generation.status, generation.error_code) == ("failed", "provider_rate_limited")
