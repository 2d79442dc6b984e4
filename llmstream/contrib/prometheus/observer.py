"""What this process does, in ``prometheus_client``'s registry, where every exporter of it finds the figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final
from weakref import WeakSet

from prometheus_client import Counter, Gauge, Histogram

from ...models import Generation
from ...observers import ModelCall, Observer, ToolUse, Watched
from ...signals import generation_finished, generation_recovered
from ..load import load_of

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_FLUSH_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_EVENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Families:
    """The metrics. Gauges add up over the processes that live."""

    def __init__(self) -> None:
        self.generations = Counter("llmstream_generations", "Answers that have ended.", ["model", "status", "error"])
        self.generation_seconds = Histogram(
            "llmstream_generation_seconds", "From the begin of an answer to its end.", ["model"], buckets=_SECONDS
        )
        self.calls = Histogram("llmstream_model_call_seconds", "Calls of models.", ["model", "error"], buckets=_SECONDS)
        self.first = Histogram(
            "llmstream_first_token_seconds", "Until a model begins to speak.", ["model"], buckets=_SECONDS
        )
        self.tokens = Counter("llmstream_tokens", "Tokens as providers count them.", ["model", "type"])
        self.tools = Histogram("llmstream_tool_seconds", "Tools at work.", ["tool", "error"], buckets=_SECONDS)
        self.recovered = Counter("llmstream_recovered_generations", "Answers that lost their process.", ["model"])
        self.flush_events = Histogram("llmstream_flush_events", "Events stored together.", buckets=_EVENTS)
        self.flush_seconds = Histogram("llmstream_flush_seconds", "Storing events together.", buckets=_FLUSH_SECONDS)
        self.replayed = Counter("llmstream_replayed_events", "Stored events read again by who was behind.")
        self.resets = Counter("llmstream_resets", "Positions of clients that could not be served.", ["reason"])
        self.streams = _now("llmstream_streams", "Event streams that are open.")
        self.sockets = _now("llmstream_sockets", "WebSockets that are open.")
        self.running = _now("llmstream_running_generations", "Generations at work.")
        self.waiting = _now("llmstream_waiting_conversations", "Conversations in which a prompt waits its turn.")


class Prometheus(Observer):
    """Counts what this process does; the gauges are at most a second old."""

    def __init__(self) -> None:
        self._families = _families()
        self._engines: WeakSet[Watched] = WeakSet()
        generation_finished.connect(self._finished, sender=Generation)
        generation_recovered.connect(self._recovered, sender=Generation)

    def watch(self, engine: Watched) -> None:
        """Count what goes on in it, at every tick of its timer: files that processes share cannot ask for it."""
        self._engines.add(engine)
        engine.tickers.append(self._tick)

    @contextmanager
    def model_call(self, call: ModelCall) -> Iterator[None]:
        """Count it at its end."""
        yield
        model, families = call.subject.model, self._families
        families.calls.labels(model, call.error).observe(call.seconds)
        if call.first is not None:
            families.first.labels(model).observe(call.first)
        if usage := call.usage:
            for kind in ("input", "output", "cached", "cache_write", "reasoning"):
                families.tokens.labels(model, kind).inc(getattr(usage, f"{kind}_tokens"))

    @contextmanager
    def tool_call(self, use: ToolUse) -> Iterator[None]:
        """Count it at its end."""
        yield
        self._families.tools.labels(use.name, use.error).observe(use.seconds)

    def flushed(self, events: int, seconds: float) -> None:
        """Count both."""
        self._families.flush_events.observe(events)
        self._families.flush_seconds.observe(seconds)

    def replayed(self, events: int) -> None:
        """Count them."""
        self._families.replayed.inc(events)

    def reset(self, reason: str) -> None:
        """Count it."""
        self._families.resets.labels(reason).inc()

    def _tick(self, now: float) -> None:
        load, families = load_of(self._engines), self._families
        families.streams.set(load.streams)
        families.sockets.set(load.sockets)
        families.running.set(load.running)
        families.waiting.set(load.waiting)

    def _finished(self, *, generation: Generation, **_: Any) -> None:
        self._families.generations.labels(generation.model, generation.status, generation.error_code).inc()
        if generation.started_at and generation.ended_at:
            took = (generation.ended_at - generation.started_at).total_seconds()
            self._families.generation_seconds.labels(generation.model).observe(took)

    def _recovered(self, *, generation: Generation, **_: Any) -> None:
        self._families.recovered.labels(generation.model).inc()


def _now(name: str, about: str) -> Gauge:
    return Gauge(name, about, multiprocess_mode="livesum")


@cache
def _families() -> Families:
    return Families()
