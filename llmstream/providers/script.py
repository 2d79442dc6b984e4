"""Scripts: what a ``ScriptedProvider`` does, as Python objects or as plain JSON data.

A script is a sequence of steps:

=========================================  ================================================================
step                                       as data
=========================================  ================================================================
``"text"``                                 ``"text"`` or ``{"text": "text"}``
``ReasoningDelta("text")``                 ``{"reasoning": "text"}``
``RefusalDelta("text")``                   ``{"refusal": "text"}``
``ResponseStarted("id")``                  ``{"started": "id"}``
``Usage(3, 5)``                            ``{"usage": {"input_tokens": 3, "output_tokens": 5}}``
``Finish("stop")``                         ``{"finish": "stop"}``
``Keepalive()``                            ``{"keepalive": true}``
``Wait(0.5)``                              ``{"wait": 0.5}``
``Paced(tokens=200, rate=50)``             ``{"paced": {"tokens": 200, "rate": 50}}``
``Cut()``                                  ``{"cut": true}``
``Stall()``                                ``{"stall": true}``
``ProviderRateLimited(...)``               ``{"error": "provider_rate_limited", "retry_after_ms": 2000}``
any other exception                        ``{"raise": "text"}``
=========================================  ================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import cycle, islice
from typing import Any, TypeAlias

from ..exceptions import ProviderError
from .base import Finish, Keepalive, ProviderPart, ReasoningDelta, RefusalDelta, ResponseStarted, Usage

_WORDS = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore "
    "magna aliqua ut enim ad minim veniam quis nostrud exercitation"
).split()


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing happens for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Paced:
    """Tokens at a steady rate a second, the first one at once; at rate 0 as fast as they are taken.

    Each token is due at a time counted from the first, so being late once does not delay the rest. ``text`` is cut into
    words; without it the tokens are ``tokens`` words of filler text.
    """

    tokens: int = 0
    rate: float = 50.0
    text: str = ""

    def pieces(self) -> Iterator[str]:
        """Yield the tokens."""
        if self.text:
            head, *rest = self.text.split(" ")
            pieces = [head, *(f" {word}" for word in rest)]
            return islice(pieces, self.tokens or None)
        return islice(cycle([f"{word} " for word in _WORDS]), self.tokens)


@dataclass(frozen=True, slots=True)
class Cut:
    """The stream ends here, without a finish."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing happens any more, until the stream is closed."""


#: An exception, or a class of exceptions, is raised.
Step: TypeAlias = ProviderPart | Wait | Paced | Cut | Stall | BaseException | type[BaseException]
Script: TypeAlias = tuple[Step, ...]


class ScriptError(ValueError):
    """The data is no script."""


def parse_script(data: Iterable[Any]) -> Script:
    """Return the script that ``data`` holds, in either form or mixed; raises ScriptError."""
    if isinstance(data, str | bytes | Mapping):
        raise ScriptError(f"A script is a list of steps, not {data!r}.")
    return tuple(_step(item) for item in data)


def _step(item: Any) -> Step:
    if not isinstance(item, Mapping):
        known = str | ReasoningDelta | RefusalDelta | ResponseStarted | Usage | Finish | Keepalive | Wait | Paced | Cut
        if isinstance(item, known | Stall | BaseException):
            return item
        if isinstance(item, type) and issubclass(item, BaseException):
            return item
        raise ScriptError(f"{item!r} is no step.")
    for key, build in _STEPS.items():
        if key in item:
            try:
                return build(dict(item))
            except (TypeError, ValueError, ArithmeticError) as error:
                raise ScriptError(f"{item!r} is no {key} step: {error}") from error
    raise ScriptError(f"{item!r} is no step; a step has one of the keys {', '.join(_STEPS)}.")


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


_STEPS: Mapping[str, Callable[[dict[str, Any]], Step]] = {
    "text": lambda item: str(item["text"]),
    "reasoning": lambda item: ReasoningDelta(str(item["reasoning"])),
    "refusal": lambda item: RefusalDelta(str(item["refusal"])),
    "started": lambda item: ResponseStarted(str(item["started"])),
    "usage": _usage,
    "finish": lambda item: Finish(str(item["finish"])),
    "keepalive": lambda item: Keepalive(),
    "wait": lambda item: Wait(float(item["wait"])),
    "paced": lambda item: Paced(**item["paced"]),
    "cut": lambda item: Cut(),
    "stall": lambda item: Stall(),
    "error": _error,
    "raise": lambda item: RuntimeError(str(item["raise"])),
}
