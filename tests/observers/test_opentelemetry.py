"""Traces and metrics through OpenTelemetry's own SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from llmstream.conf import instance_of
from llmstream.contrib.opentelemetry import OpenTelemetry
from llmstream.database import run_db
from llmstream.models import Conversation, Generation
from llmstream.readers import resume
from tests.support import asked, ended, stored_one, until

from .watching import SECRET, answer, stopped, watched

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "tests.observers.test_opentelemetry.Recorded"


class Recorded(OpenTelemetry):
    """Keeps everything."""

    def __init__(self) -> None:
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.meters = MeterProvider([self.reader])
        super().__init__(self.tracers, self.meters)

    def named(self, start: str) -> list[ReadableSpan]:
        """The spans that have ended whose names begin so."""
        return [span for span in self.spans.get_finished_spans() if span.name.startswith(start)]

    def points(self, name: str) -> list[Any]:
        """The figures of a metric."""
        return list(self._points(name))

    def _points(self, name: str) -> Iterator[Any]:
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                yield from (
                    point for metric in scope.metrics if metric.name == name for point in metric.data.data_points
                )


def recorded() -> Recorded:
    """The site's observer."""
    found: Recorded = instance_of(PATH)
    return found


async def test_an_answer_is_a_trace_below_the_request_that_asked() -> None:
    async with watched(PATH) as engine:
        seen = recorded()
        with seen.tracers.get_tracer("site").start_as_current_span("POST messages/") as request:
            sent = await asked(engine, SECRET, model="helped")
        generation = await ended(sent.generation)
        await until(lambda: seen.named("invoke_agent"))
    (whole,) = seen.named("invoke_agent")
    first, second = seen.named("chat")
    assert whole.parent is not None
    assert whole.parent.span_id == request.get_span_context().span_id
    spans = [whole, first, second, *seen.named("execute_tool")]
    assert {span.context.trace_id for span in spans if span.context} == {request.get_span_context().trace_id}
    assert whole.context is not None
    assert {span.parent.span_id for span in spans[1:] if span.parent} == {whole.context.span_id}
    assert (whole.name, first.name, first.kind) == ("invoke_agent helped", "chat helper-1", SpanKind.CLIENT)
    conversation = (await Conversation.objects.aget(pk=generation.conversation_id)).public_id
    assert dict(whole.attributes or {}) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "FunctionProvider",
        "gen_ai.request.model": "helper-1",
        "gen_ai.conversation.id": conversation,
        "gen_ai.agent.name": "helped",
        "llmstream.generation.id": generation.public_id,
        "llmstream.generation.status": "completed",
    }
    said = dict(second.attributes or {})
    assert 0 <= said.pop("gen_ai.response.time_to_first_chunk") < 60  # type: ignore[operator]
    assert said == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "FunctionProvider",
        "gen_ai.request.model": "helper-1",
        "gen_ai.conversation.id": conversation,
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.cache_creation.input_tokens": 4,
    }
    big, fail = sorted(seen.named("execute_tool"), key=lambda span: span.name)
    assert (big.attributes or {})["gen_ai.tool.call.id"]
    assert (fail.status.status_code, fail.status.description) == (StatusCode.ERROR, "tool_failed")
    assert SECRET not in "".join(span.to_json() for span in seen.spans.get_finished_spans())


@pytest.mark.parametrize(("name", "code"), [("late", "provider_timeout"), ("broken", "provider_error")])
async def test_failures_have_their_codes_and_no_text(name: str, code: str) -> None:
    async with watched(PATH) as engine:
        seen = recorded()
        await answer(engine, name)
        await until(lambda: seen.named("invoke_agent"))
    for span in (*seen.named("chat"), *seen.named("invoke_agent")):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, code)
        assert (span.attributes or {})["error.type"] == code
        assert not span.events
        assert SECRET not in span.to_json()


async def test_a_stop_is_no_error() -> None:
    async with watched(PATH) as engine:
        seen = recorded()
        await stopped(engine)
        await until(lambda: seen.named("invoke_agent"))
    (whole,) = seen.named("invoke_agent")
    assert (whole.attributes or {})["llmstream.generation.status"] == "stopped"
    assert {span.status.status_code for span in seen.spans.get_finished_spans()} == {StatusCode.UNSET}


async def test_metrics_of_calls_tools_and_answers() -> None:
    async with watched(PATH) as engine:
        seen = recorded()
        await answer(engine, "helped")
        await answer(engine, "late")
        await until(lambda: len(seen.named("invoke_agent")) == 2)
    tokens = {
        (point.attributes["gen_ai.request.model"], point.attributes["gen_ai.token.type"]): point.sum
        for point in seen.points("gen_ai.client.token.usage")
    }
    assert tokens == {("helper-1", "input"): 40, ("helper-1", "output"): 25}
    calls = {
        (point.attributes["gen_ai.request.model"], point.attributes.get("error.type")): point.count
        for point in seen.points("gen_ai.client.operation.duration")
    }
    assert calls == {("helper-1", None): 2, ("late", "provider_timeout"): 1}
    assert sum(point.count for point in seen.points("gen_ai.client.operation.time_to_first_chunk")) == 2
    assert sum(point.count for point in seen.points("gen_ai.execute_tool.duration")) == 2
    ends = {point.attributes["llmstream.generation.status"] for point in seen.points("gen_ai.invoke_agent.duration")}
    assert ends == {"completed", "failed"}
    assert not [
        point for point in seen.points("gen_ai.client.token.usage") if "gen_ai.conversation.id" in point.attributes
    ]


async def test_what_goes_on_and_what_the_log_does() -> None:
    async with watched(PATH) as engine:
        seen = recorded()
        sent = await asked(engine, SECRET, model="endless")
        assert [point.value for point in seen.points("llmstream.running")] == [1]
        assert [point.value for point in seen.points("llmstream.streams")] == [0]
        await stored_one(sent.conversation, "text-delta")
        await run_db(Generation.objects.filter(pk=sent.generation.pk).update, fence=9)
        await until(lambda: not engine.runs)
        conversation = await Conversation.objects.aget(pk=sent.conversation.pk)
        await run_db(resume, conversation, "rubbish")
    assert [point.value for point in seen.points("llmstream.running")] == [0]
    assert [(point.attributes["llmstream.reason"], point.value) for point in seen.points("llmstream.resets")] == [
        ("malformed", 1)
    ]
    assert [point.sum > 0 for point in seen.points("llmstream.flush.duration")] == [True]
    assert [point.sum > 0 for point in seen.points("llmstream.flush.events")] == [True]
