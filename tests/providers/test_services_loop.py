"""Whole generations that use tools, over each of the services besides Chat Completions."""

from __future__ import annotations

from typing import Any

import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import ToolCall as Stored
from llmstream.providers import ToolCall
from tests.support import asked, check_log, ended, site
from tests.tools.site import tools
from tests.tools.test_loop import results
from tests.upstream import END, GATE, RST, Act, Upstream
from tests.upstream_wire import HEAD, http_chunk

from .services import SERVICES, Service
from .speeches import ANSWER, PIECEMEAL, SPEECHES, frames

pytestmark = pytest.mark.django_db(transaction=True)

CALLS = [ToolCall("call_1", "add", '{"a":1,"b":2}'), ToolCall("call_2", "add", '{"a":3,"b":4}')]


def models(service: Service, upstream: Upstream) -> dict[str, Any]:
    """Return a site's models: one of the service's that may ask for a tool."""
    # Imported now: that takes seconds, for which nothing should wait while an answer runs.
    _ = service.provider
    options = service.options(upstream)
    return {"default": {"PROVIDER": service.path, "MODEL": "script", "OPTIONS": options, "TOOLS": tools("add")}}


def asking(name: str, *asked_for: ToolCall, end: Act = END) -> list[Act]:
    """Return what a service does that says a word, asks for tools and, past a gate, ends."""
    service, speech = SERVICES[name], SPEECHES[name]
    events = [*service.dialect.token("Well. ", ANSWER)]
    for index, call in enumerate(asked_for, 1):
        events += speech.call(index, call, [call.arguments])
    if end == END:
        events += speech.end(asked_for)
    *sent, last = frames(service, *events)
    return [HEAD, http_chunk(b"".join(sent)), GATE, *([http_chunk(last)] if end == END else []), end]


async def answer(running: Engine, upstream: Upstream, name: str, *asked_for: ToolCall) -> Any:
    """Return the generation of an answer for which the model first asks for tools."""
    service = SERVICES[name]
    upstream.script = asking(name, *asked_for)
    with site(models=models(service, upstream)):
        sent = await asked(running)
        await upstream.pass_gate()
        upstream.script = [HEAD, *map(http_chunk, service.events("That is all.")), END]
        generation = await ended(sent.generation)
        await run_db(check_log, sent.conversation)
    return generation


@pytest.mark.parametrize("name", SERVICES)
async def test_tools_are_run_and_the_model_is_told(running: Engine, upstream: Upstream, name: str) -> None:
    generation = await answer(running, upstream, name, *CALLS)
    assert (generation.status, generation.finish_reason) == ("completed", "stop")
    parts = generation.message.parts
    assert [part["type"] for part in parts] == ["text", "tool", "tool", "text"]
    assert results(parts) == [3, 7]
    assert generation.message.text.endswith("That is all.")
    first, second = (str(exchange.body) for exchange in upstream.exchanges)
    assert "call_1" not in first
    assert [second.count(f"'{call.id}'") for call in CALLS] == [2, 2]


@pytest.mark.parametrize("name", PIECEMEAL)
async def test_malformed_arguments_are_told_to_the_model(running: Engine, upstream: Upstream, name: str) -> None:
    generation = await answer(running, upstream, name, ToolCall("call_1", "add", '{"a": 1,'), CALLS[1])
    assert generation.status == "completed"
    assert results(generation.message.parts) == ["tool_invalid_input", 7]
    assert "tool_invalid_input" in str(upstream.exchanges[1].body)


@pytest.mark.parametrize("name", SERVICES)
async def test_a_cut_answer_runs_nothing(running: Engine, upstream: Upstream, name: str) -> None:
    upstream.script = asking(name, *CALLS, end=RST)
    with site(models=models(SERVICES[name], upstream)):
        sent = await asked(running)
        await upstream.pass_gate()
        generation = await ended(sent.generation)
        await run_db(check_log, sent.conversation)
    assert (generation.status, generation.error_code) == ("failed", "provider_truncated")
    assert generation.message.text == "Well. "
    assert not await run_db(Stored.objects.exists)
    assert len(upstream.exchanges) == 1
