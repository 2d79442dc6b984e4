"""The models of other frameworks' agents: each asks for the weather, then tells it.

Tests import this when they run: it takes seconds, which each process of tests would spend.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agents import set_tracing_disabled as set_tracing_disabled
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
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls
from pydantic_ai.models.function import FunctionModel as FunctionModel


async def say(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    """Be the model of a pydantic-ai agent: ask for the weather, then tell it."""
    results = [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
    if results:
        yield "I know: "
        yield str(results[0].content)
    else:
        yield {0: DeltaToolCall(name="weather", json_args='{"city": "Ulm"}', tool_call_id="c1")}


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
