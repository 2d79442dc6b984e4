"""Scripts: what a ``ScriptedProvider`` does, as Python objects or as plain JSON data.

A script is a sequence of steps:

=========================================  ================================================================
step                                       as data
=========================================  ================================================================
``"text"``                                 ``"text"`` or ``{"text": "text"}``: one piece of the answer
``Paced("text", per_second=50)``           ``{"text": "text", "per_second": 50}``: word by word
``Paced(tokens=200, per_second=50)``       ``{"tokens": 200, "per_second": 50}``: words of filler text
``Wait(0.5)``                              ``0.5``: nothing for so many seconds
``ReasoningDelta("text")``                 ``{"reasoning": "text"}``
``RefusalDelta("text")``                   ``{"refusal": "text"}``
``ResponseStarted("id")``                  ``{"started": "id"}``
``Keepalive()``                            ``{"keepalive": true}``
``Usage(3, 5)``                            ``{"usage": {"input_tokens": 3, "output_tokens": 5}}``
``ToolCall("id", "add", '{"a": 1}')``      ``{"tool": "add", "input": {"a": 1}}``, and an ``id`` if you like
``NextCall()``                             ``{"next": true}``: what follows is for the call after the tools have run
``Result(0)``                              ``{"result": 0}``: the result of the prompt's first tool call, as text
``Phase("searching", "the archive")``      ``{"phase": "searching", "detail": "the archive"}``
``Data("chart", [1, 2])``                  ``{"data": [1, 2], "name": "chart"}``
``Finish("length")``                       ``{"finish": "length"}``
``Cut()``                                  ``{"cut": true}``: the end, without a finish
``Stall()``                                ``{"stall": true}``: nothing any more
``ProviderRateLimited(...)``               ``{"error": "provider_rate_limited", "retry_after_ms": 2000}``
any other exception                        ``{"raise": "text"}``
=========================================  ================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import cycle, islice
from typing import Any, TypeAlias

import orjson

from ..exceptions import ProviderError
from .base import (
    AgentPart,
    Data,
    Finish,
    Keepalive,
    Phase,
    ProviderPart,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    ToolCall,
    Usage,
)

_WORDS = re.compile(r"\s*\S+\s*")
_FILLER = """lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore
magna aliqua ut enim ad minim veniam quis nostrud exercitation"""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing happens for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Paced:
    """The words of ``text``, or ``tokens`` words of filler text, at a steady rate; at rate 0 one per turn of the loop.

    Each word is due at a time counted from the first one, so being late once does not delay the rest.
    """

    text: str = ""
    tokens: int = 0
    per_second: float = 50.0

    def pieces(self) -> Iterator[str]:
        """Yield the words, with the space around them."""
        if self.text:
            return iter(_WORDS.findall(self.text) or [self.text])
        return islice(cycle([f"{word} " for word in _FILLER.split()]), self.tokens)


@dataclass(frozen=True, slots=True)
class NextCall:
    """The end of this model call's part of the script; the next call goes on behind it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool returned: ``number`` counts the tool calls since the prompt from 0."""

    number: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The stream ends here, without a finish."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing happens any more, until the stream is closed."""


#: An exception, or a class of exceptions, is raised.
Played: TypeAlias = ProviderPart | Wait | Paced | Result | Cut | Stall | BaseException | type[BaseException]
Step: TypeAlias = Played | NextCall
Script: TypeAlias = tuple[Step, ...]


class ScriptError(ValueError):
    """The data is no script."""


def parse_script(data: Iterable[Any]) -> Script:
    """Return the script that ``data`` holds, in either form or mixed; raises ScriptError."""
    if isinstance(data, str | bytes | Mapping):
        raise ScriptError(f"A script is a list of steps, not {data!r}.")
    return tuple(_step(item) for item in data)


def _step(item: Any) -> Step:
    if isinstance(item, Mapping):
        return _built(dict(item))
    if isinstance(item, int | float) and not isinstance(item, bool):
        return Wait(item)
    if isinstance(item, _PARTS | Wait | Paced | NextCall | Result | Cut | Stall | BaseException):
        return item
    if isinstance(item, type) and issubclass(item, BaseException):
        return item
    raise ScriptError(f"{item!r} is no step.")


def _built(item: dict[str, Any]) -> Step:
    keys = [key for key in item if key not in _DETAILS]
    if len(keys) != 1 or keys[0] not in _STEPS:
        raise ScriptError(f"{item!r} is no step; a step has one of the keys {', '.join(_STEPS)}.")
    try:
        return _STEPS[keys[0]](item)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ScriptError(f"{item!r} is no {keys[0]} step: {error}") from error


def _text(item: dict[str, Any]) -> Step:
    text = str(item["text"])
    return Paced(text, per_second=float(item["per_second"])) if "per_second" in item else text


def _usage(item: dict[str, Any]) -> Usage:
    figures = dict(item["usage"])
    if (cost := figures.get("cost")) is not None:
        figures["cost"] = Decimal(str(cost))
    return Usage(**figures)


def _error(item: dict[str, Any]) -> ProviderError:
    classes = {found.code: found for found in _subclasses(ProviderError)}
    code = item["error"]
    if code not in classes:
        raise ValueError(f"the codes are {', '.join(sorted(classes))}")
    return classes[code](retry_after_ms=item.get("retry_after_ms"))


def _subclasses(parent: type[ProviderError]) -> Iterator[type[ProviderError]]:
    yield parent
    for child in parent.__subclasses__():
        yield from _subclasses(child)


def _tool(item: dict[str, Any]) -> ToolCall:
    given = item.get("input", {})
    name = str(item["tool"])
    arguments = given if isinstance(given, str) else orjson.dumps(given).decode()
    return ToolCall(str(item.get("id", "")), name, arguments)


_PARTS = str | ReasoningDelta | RefusalDelta | ResponseStarted | Usage | Finish | Keepalive | AgentPart
#: Keys that go with the one that says what a step is.
_DETAILS = {"per_second", "retry_after_ms", "input", "id", "detail", "name"}

_STEPS: Mapping[str, Callable[[dict[str, Any]], Step]] = {
    "text": _text,
    "tokens": lambda item: Paced(tokens=int(item["tokens"]), per_second=float(item.get("per_second", 50.0))),
    "reasoning": lambda item: ReasoningDelta(str(item["reasoning"])),
    "refusal": lambda item: RefusalDelta(str(item["refusal"])),
    "started": lambda item: ResponseStarted(str(item["started"])),
    "keepalive": lambda item: Keepalive(),
    "usage": _usage,
    "tool": _tool,
    "next": lambda item: NextCall(),
    "result": lambda item: Result(int(item["result"])),
    "phase": lambda item: Phase(str(item["phase"]), str(item.get("detail", ""))),
    "data": lambda item: Data(str(item.get("name", "")), item["data"]),
    "finish": lambda item: Finish(str(item["finish"])),
    "cut": lambda item: Cut(),
    "stall": lambda item: Stall(),
    "error": _error,
    "raise": lambda item: RuntimeError(str(item["raise"])),
}
