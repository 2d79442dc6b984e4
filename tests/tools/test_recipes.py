"""The recipes for other frameworks' agents: their tools are shown, run once, and what they say is the answer."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import pytest
from agents import set_tracing_disabled
from agents.models.interface import Model
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseTextDeltaEvent,
    ResponseUsage,
)
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails
from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import Generation, UsageRecord
from tests.support import asked, check_log, ended, site
from tests.test_docs import snippet

pytestmark = pytest.mark.django_db(transaction=True)

SUNNY = "It is sunny in Ulm."


@pytest.fixture
def recipe(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """A recipe of ``docs/agents.md`` as a module that a site could name."""
    module = ModuleType("recipe_under_test")
    vars(module).update(snippet("docs/agents.md", request.param))
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


async def answered(running: Engine, recipe: ModuleType) -> Generation:
    """Return the generation that the recipe's agent has answered."""
    with site(models={"default": {"PROVIDER": f"{recipe.__name__}.assistant"}}):
        generation = await ended((await asked(running, "How is the weather in Ulm?")).generation)
        await run_db(check_log, generation.conversation)
    return generation


def check(generation: Generation) -> None:
    """Check what both agents come to."""
    tool, text = generation.message.parts
    assert (tool["tool"], tool["output"]) == ("weather", SUNNY)
    assert text == {"type": "text", "text": f"I know: {SUNNY}"}
    assert generation.status == "completed"


async def say(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    """Be the model of a pydantic-ai agent: ask for the weather, then tell it."""
    results = [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
    if results:
        yield "I know: "
        yield str(results[0].content)
    else:
        yield {0: DeltaToolCall(name="weather", json_args='{"city": "Ulm"}', tool_call_id="c1")}


@pytest.mark.parametrize("recipe", ["pydantic_ai"], indirect=True)
async def test_an_agent_of_pydantic_ai(running: Engine, recipe: Any) -> None:
    recipe.agent.model = FunctionModel(stream_function=say)
    generation = await answered(running, recipe)
    check(generation)
    assert generation.message.parts[0]["input"] == {"city": "Ulm"}


class Scripted(Model):
    """The model of an agent of the OpenAI SDK: asks for the weather, then tells it."""

    async def get_response(self, *args: Any, **kwargs: Any) -> Any:
        """Not used by streamed runs."""
        raise NotImplementedError

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Yield the events of one response."""
        given = kwargs.get("input", args[1] if len(args) > 1 else [])
        results = [item["output"] for item in given if item.get("type") == "function_call_output"]
        if not results:
            call = ResponseFunctionToolCall(
                arguments='{"city": "Ulm"}', call_id="c1", name="weather", type="function_call", id="f1"
            )
            yield completed(0, call)
            return
        text = f"I know: {results[0]}"
        for number, delta in enumerate((text[:8], text[8:])):
            yield ResponseTextDeltaEvent(
                content_index=0,
                delta=delta,
                item_id="m1",
                logprobs=[],
                output_index=0,
                sequence_number=number,
                type="response.output_text.delta",
            )
        part = ResponseOutputText(annotations=[], text=text, type="output_text")
        yield completed(
            2, ResponseOutputMessage(id="m1", content=[part], role="assistant", status="completed", type="message")
        )


def completed(number: int, item: Any) -> ResponseCompletedEvent:
    """Return the last event of a response."""
    usage = ResponseUsage(
        input_tokens=5,
        input_tokens_details=InputTokensDetails(cached_tokens=0, cache_write_tokens=0),
        output_tokens=3,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        total_tokens=8,
    )
    response = Response(
        id="r1",
        created_at=0,
        model="scripted",
        object="response",
        output=[item],
        parallel_tool_calls=False,
        tool_choice="auto",
        tools=[],
        usage=usage,
    )
    return ResponseCompletedEvent(response=response, sequence_number=number, type="response.completed")


@pytest.mark.parametrize("recipe", ["from agents import"], indirect=True)
async def test_an_agent_of_the_openai_sdk(running: Engine, recipe: Any) -> None:
    set_tracing_disabled(True)
    recipe.agent.model = Scripted()
    check(await answered(running, recipe))
    usage = await run_db(UsageRecord.objects.get)
    assert (usage.input_tokens, usage.output_tokens) == (10, 6)
