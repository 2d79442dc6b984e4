"""Traces and metrics through OpenTelemetry, by the conventions for generative AI as of October 2026.

Only the API is needed: what becomes of the figures is the site's own choice of SDK and exporter. Nothing that was said
is recorded, and no text of an exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakSet

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .. import __version__
from ..models import Generation
from ..observers import ModelCall, Observer, Subject, ToolUse, Watched
from ..signals import generation_finished, generation_recovered
from .load import Load, load_of

#: Buckets that the conventions ask for.
_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = tuple(4**power for power in range(14))
_EVENTS: Final = tuple(2**power for power in range(11))
_FLUSH_SECONDS: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024)

#: What the conventions call those who make models; others go by the names of their classes.
_PROVIDERS: Final = {
    "llmstream.providers.anthropic.AnthropicProvider": "anthropic",
    "llmstream.providers.gemini.GeminiProvider": "gcp.gemini",
    "llmstream.providers.openai.OpenAIProvider": "openai",
    "llmstream.providers.openai_responses.OpenAIResponsesProvider": "openai",
}
_CARRIER: Final = "traceparent"

Attributes = dict[str, str | int | float | bool | Sequence[str]]


class OpenTelemetry(Observer):
    """A span for each generation, model call and tool; the providers are the global ones unless given."""

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer("llmstream", __version__, tracer_provider)
        self._propagator = TraceContextTextMapPropagator()
        self._engines: WeakSet[Watched] = WeakSet()
        #: The spans of generations at work here, until they are told how they ended.
        self._spans: dict[str, trace.Span] = {}
        self._measure(metrics.get_meter("llmstream", __version__, meter_provider))
        generation_finished.connect(self._finished, sender=Generation)
        generation_recovered.connect(self._recovered, sender=Generation)

    def watch(self, engine: Watched) -> None:
        """Count what goes on in it."""
        self._engines.add(engine)

    def origin(self) -> str:
        """Return the traceparent of the request's span."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get(_CARRIER, "")

    @contextmanager
    def generation(self, subject: Subject) -> Iterator[None]:
        """A span below that of the request, which may long be over, and may be another process's."""
        parent = self._propagator.extract({_CARRIER: subject.origin} if subject.origin else {})
        attributes = _attributes("invoke_agent", subject)
        attributes |= {"gen_ai.agent.name": subject.model, "llmstream.generation.id": subject.generation}
        with self._tracer.start_as_current_span(
            f"invoke_agent {subject.model}", parent, SpanKind.INTERNAL, attributes
        ) as span:
            self._spans[subject.generation] = span
            yield
            self._spans.pop(subject.generation, None)

    @contextmanager
    def model_call(self, call: ModelCall) -> Iterator[None]:
        """A span, and the conventions' metrics of clients."""
        attributes = _attributes("chat", call.subject)
        asked: Attributes = {"gen_ai.request.stream": True}
        if call.max_tokens:
            asked["gen_ai.request.max_tokens"] = call.max_tokens
        name = f"chat {_model(call.subject)}"
        with self._tracer.start_as_current_span(name, None, SpanKind.CLIENT, {**attributes, **asked}) as span:
            yield
            span.set_attributes(_answered(call))
            _fail(span, call.error)
            labels = _labels(attributes)
            self._calls.record(call.seconds, {**labels, **_error(call.error)})
            if call.first is not None:
                self._firsts.record(call.first, labels)
            if call.usage:
                self._tokens.record(call.usage.input_tokens, {**labels, "gen_ai.token.type": "input"})
                self._tokens.record(call.usage.output_tokens, {**labels, "gen_ai.token.type": "output"})

    @contextmanager
    def tool_call(self, use: ToolUse) -> Iterator[None]:
        """A span, and how long it took."""
        attributes: Attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": use.name}
        more = {"gen_ai.tool.call.id": use.call, "gen_ai.conversation.id": use.subject.conversation}
        kind = SpanKind.INTERNAL
        with self._tracer.start_as_current_span(
            f"execute_tool {use.name}", None, kind, {**attributes, **more, "gen_ai.tool.type": "function"}
        ) as span:
            yield
            _fail(span, use.error)
            self._tools.record(use.seconds, {**attributes, **_error(use.error)})

    def flushed(self, events: int, seconds: float) -> None:
        """Record both."""
        self._flushed.record(events)
        self._flushes.record(seconds)

    def replayed(self, events: int) -> None:
        """Count them."""
        self._replayed.add(events)

    def reset(self, reason: str) -> None:
        """Count it."""
        self._resets.add(1, {"llmstream.reason": reason})

    def _measure(self, meter: Meter) -> None:
        def seconds(name: str, about: str, bounds: Sequence[float] = _SECONDS) -> Histogram:
            return meter.create_histogram(name, "s", about, explicit_bucket_boundaries_advisory=bounds)

        self._calls = seconds("gen_ai.client.operation.duration", "GenAI operation duration.")
        self._firsts = seconds("gen_ai.client.operation.time_to_first_chunk", "Time to receive the first chunk.")
        self._tools = seconds("gen_ai.execute_tool.duration", "Tool execution duration.")
        self._answers = seconds("gen_ai.invoke_agent.duration", "From the begin of an answer to its end.")
        self._flushes = seconds("llmstream.flush.duration", "How long storing events together took.", _FLUSH_SECONDS)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._flushed = meter.create_histogram(
            "llmstream.flush.events",
            "{event}",
            "Events stored together.",
            explicit_bucket_boundaries_advisory=_EVENTS,
        )
        self._replayed = meter.create_counter("llmstream.replayed.events", "{event}", "Stored events read again.")
        self._resets = meter.create_counter("llmstream.resets", "{reset}", "Positions that could not be served.")
        self._takeovers = meter.create_counter(
            "llmstream.recoveries", "{generation}", "Answers whose process was lost."
        )
        for name, unit, about in _NOW:
            meter.create_observable_gauge(f"llmstream.{name}", [_reading(self._engines, name)], unit, about)

    def _finished(self, *, generation: Generation, **_: Any) -> None:
        error = generation.error_code if generation.status in Generation.TROUBLED else ""
        if span := self._spans.get(generation.public_id):
            span.set_attribute("llmstream.generation.status", generation.status)
            _fail(span, error or ("interrupted" if generation.status == Generation.Status.INTERRUPTED else ""))
        if generation.started_at and generation.ended_at:
            labels = {"gen_ai.agent.name": generation.model, "llmstream.generation.status": generation.status}
            took = (generation.ended_at - generation.started_at).total_seconds()
            self._answers.record(took, {**labels, **_error(error)})

    def _recovered(self, *, generation: Generation, **_: Any) -> None:
        self._takeovers.add(1, {"gen_ai.agent.name": generation.model})


#: Gauges of ``Load``.
_NOW: Final = (
    ("streams", "{stream}", "Event streams that are open."),
    ("sockets", "{socket}", "WebSockets that are open."),
    ("running", "{generation}", "Generations at work."),
    ("waiting", "{conversation}", "Conversations in which a prompt waits its turn."),
)


def _reading(engines: WeakSet[Watched], name: str) -> Any:
    def read(_: CallbackOptions) -> Iterator[Observation]:
        load: Load = load_of(engines)
        yield Observation(getattr(load, name))

    return read


def _model(subject: Subject) -> str:
    return subject.model_name or subject.model


def _attributes(operation: str, subject: Subject) -> Attributes:
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDERS.get(subject.provider, subject.provider.rpartition(".")[2]),
        "gen_ai.request.model": _model(subject),
        "gen_ai.conversation.id": subject.conversation,
    }


def _labels(attributes: Mapping[str, Any]) -> Attributes:
    """Leave out what there are too many of for a metric."""
    return {name: value for name, value in attributes.items() if name != "gen_ai.conversation.id"}


def _answered(call: ModelCall) -> Attributes:
    found: Attributes = {}
    if call.first is not None:
        found["gen_ai.response.time_to_first_chunk"] = call.first
    if call.finish_reason:
        found["gen_ai.response.finish_reasons"] = [call.finish_reason]
    if usage := call.usage:
        found |= {
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        }
    return found


def _error(code: str) -> Attributes:
    return {"error.type": code} if code else {}


def _fail(span: trace.Span, code: str) -> None:
    if code:
        span.set_attribute("error.type", code)
        span.set_status(Status(StatusCode.ERROR, code))
