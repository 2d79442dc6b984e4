"""What of its history a model is sent: all of it, or what fits into the model's window."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, TypeAlias

import orjson
from django.core.signals import setting_changed

from .conf import ModelSettings, import_setting
from .context_files import with_files
from .providers.base import ChatMessage, ProviderRequest

#: Says how many tokens a text takes.
Counter: TypeAlias = Callable[[str], int]

_CHARS_PER_TOKEN = 4


class ContextPolicy(ABC):
    """Chooses what a model is sent. There is one instance per model that the site names, and any number of calls."""

    @abstractmethod
    async def fit(self, request: ProviderRequest, tokens: int) -> Sequence[ChatMessage]:
        """Return the turns to send instead of ``request.messages``; called before every call of the model.

        ``tokens`` is the model's ``CONTEXT_TOKENS``, 0 when the site has set none. What this raises fails the answer.
        """


def estimate(text: str) -> int:
    """Return about how many tokens a text takes, at four characters each."""
    return -(-len(text) // _CHARS_PER_TOKEN)


class NewestTurns(ContextPolicy):
    """Sends the system prompt, the newest message of a user, and as many of the newest turns as fit, without a hole.

    A tool call and its results are sent together or not at all. What is left of the history begins with a user's turn.
    With ``tokens`` 0 everything is sent. ``counter`` is a dotted path or the function itself.
    """

    def __init__(self, counter: str | Counter = estimate) -> None:
        self._count: Counter = import_setting(counter) if isinstance(counter, str) else counter

    async def fit(self, request: ProviderRequest, tokens: int) -> Sequence[ChatMessage]:
        """Leave the oldest turns out."""
        if not tokens:
            return request.messages
        system, steps = _steps(request.messages)
        newest = max((index for index, step in enumerate(steps) if step[0].role == "user"), default=len(steps))
        left = tokens - self._cost(system) - sum(self._count(orjson.dumps(spec).decode()) for spec in request.tools)
        left -= self._cost(steps[newest]) if newest < len(steps) else 0
        start = len(steps)
        # From the newest on: what does not fit is never counted, and counting may be dear.
        while start:
            left -= self._cost(steps[start - 1]) if start - 1 != newest else 0
            if left < 0:
                break
            start -= 1
        if start > newest:
            return [*system, *steps[newest], *_joined(steps[start:])]
        while 0 < start < newest < len(steps) and steps[start][0].role != "user":
            start += 1
        return [*system, *_joined(steps[start:])]

    def _cost(self, turns: Sequence[ChatMessage]) -> int:
        return sum(
            self._count(turn.content)
            + sum(self._count(call.name + call.arguments) for call in turn.tool_calls)
            + sum(file.tokens for file in turn.files)
            for turn in turns
        )


async def fitted(request: ProviderRequest, key: str, model: ModelSettings) -> tuple[ProviderRequest, int]:
    """Return a request as the model's policy wants it, and how many turns it was left with less."""
    # In a thread at first: a tokenizer may take seconds to load.
    if (policy := _policies().get(key)) is None:
        policy = await asyncio.to_thread(_build, key, model)
    messages = await policy.fit(request, model.context_tokens)
    sent = replace(request, messages=await with_files(messages))
    return sent, max(0, len(request.messages) - len(messages))


def _steps(messages: Sequence[ChatMessage]) -> tuple[Sequence[ChatMessage], list[list[ChatMessage]]]:
    """Return the system prompt, and the other turns; those of tools together with the turn that asked for them."""
    first = next((index for index, turn in enumerate(messages) if turn.role != "system"), len(messages))
    steps: list[list[ChatMessage]] = []
    for turn in messages[first:]:
        if turn.role == "tool" and steps:
            steps[-1].append(turn)
        else:
            steps.append([turn])
    return messages[:first], steps


def _joined(steps: Sequence[Sequence[ChatMessage]]) -> list[ChatMessage]:
    return [turn for step in steps for turn in step]


def _build(key: str, model: ModelSettings) -> ContextPolicy:
    named = import_setting(model.context) if isinstance(model.context, str) else model.context
    built: ContextPolicy = named(**model.context_options)
    return _policies().setdefault(key, built)


@cache
def _policies() -> dict[str, ContextPolicy]:
    return {}


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "LLMSTREAM":
        _policies.cache_clear()


setting_changed.connect(_forget, dispatch_uid="llmstream.context")
