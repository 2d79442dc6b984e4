"""Who watches this process at work: the classes that ``OBSERVERS`` names, for traces, metrics and logs.

Nothing is told per token, and nothing of what people and models say is handed over. Without observers each of these
calls costs a look at an empty tuple.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from .conf import get_settings, instance_of
from .providers.base import Usage

logger = logging.getLogger("llmstream.observers")


@dataclass(frozen=True, slots=True)
class Subject:
    """The generation that something is told of, by its public ids.

    ``model`` is the key of the site's entry, ``provider`` the dotted path of its class and ``model_name`` the
    provider's own name of the model. ``origin`` leads to the request that asked for it.
    """

    conversation: str
    generation: str
    model: str
    provider: str
    model_name: str
    origin: str = ""


@dataclass(slots=True)
class ModelCall:
    """A call of a model. At its end the rest is filled in, times in seconds since its begin.

    ``first`` is when it began to speak, None when it did not. ``usage`` is what the provider counted, None when it has
    said nothing. ``error`` is the code of what ended it, empty for an orderly end and for one that was cut off because
    nobody wants the answer any more.
    """

    subject: Subject
    max_tokens: int = 0
    first: float | None = None
    usage: Usage | None = None
    finish_reason: str = ""
    error: str = ""
    began: float = field(default_factory=perf_counter)

    @property
    def seconds(self) -> float:
        """For how long it has gone on."""
        return perf_counter() - self.began


@dataclass(slots=True)
class ToolUse:
    """A tool at work; ``error`` is a code, filled in at its end."""

    subject: Subject
    name: str
    call: str
    error: str = ""
    began: float = field(default_factory=perf_counter)

    @property
    def seconds(self) -> float:
        """For how long it has gone on."""
        return perf_counter() - self.began


class Watched(Protocol):
    """What an event loop's engine shows."""

    streams: set[Any]
    runs: Mapping[int, Any]
    turns: Any
    tickers: list[Callable[[float], None]]


class Observer:
    """Override what is of interest; all of it must be quick, and may be called in any thread unless it says otherwise.

    What is raised is logged and disturbs nothing. How generations end is told by the signals of ``llmstream.signals``.
    """

    def watch(self, engine: Watched) -> None:
        """Learn of an engine that begins; called on its loop."""

    def origin(self) -> str:
        """Return what leads to the request at work; it is stored with the generation that the request asks for."""
        return ""

    def generation(self, subject: Subject) -> AbstractContextManager[object]:
        """Return what is open while this process works on a generation, around the task that all of it runs in."""
        return nullcontext()

    def model_call(self, call: ModelCall) -> AbstractContextManager[object]:
        """Return what is open during a call of a model, in the generation's task."""
        return nullcontext()

    def tool_call(self, use: ToolUse) -> AbstractContextManager[object]:
        """Return what is open while a tool works, in a task of its own."""
        return nullcontext()

    def flushed(self, events: int, seconds: float) -> None:
        """Learn that the log has stored events together, and how long that took."""

    def replayed(self, events: int) -> None:
        """Learn that a reader who was behind was given stored events."""

    def reset(self, reason: str) -> None:
        """Learn that a client's position could not be served."""


def get_observers() -> tuple[Observer, ...]:
    """Return this process's observers."""
    named = get_settings().observers
    return tuple(instance_of(path) for path in named) if named else ()


def origin() -> str:
    """Return what leads to the request at work, as the first observer that knows says."""
    for observer in get_observers():
        with _logged():
            if found := observer.origin():
                return found
    return ""


def tell(what: str, *news: Any) -> None:
    """Call a method of every observer."""
    for observer in get_observers():
        with _logged():
            getattr(observer, what)(*news)


@contextmanager
def observing(what: str, subject: object) -> Iterator[None]:
    """Keep open what a method of every observer returns. How the block ends is told by ``subject`` alone."""
    with ExitStack() as opened:
        for observer in get_observers():
            with _logged():
                context = getattr(observer, what)(subject)
                context.__enter__()
                opened.callback(_leave, context)
        yield


def _leave(context: AbstractContextManager[object]) -> None:
    with _logged():
        context.__exit__(None, None, None)


@contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("An observer failed")
