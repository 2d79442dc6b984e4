"""A model that says what it is told to: for tests, demonstrations and benchmarks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .base import Finish, Provider, ProviderPart, ProviderRequest, ReasoningDelta, RefusalDelta, Usage
from .script import Cut, Paced, Script, Stall, Step, Wait, parse_script

#: Chooses the script of a call.
Chooser = Callable[[ProviderRequest], Iterable[Any]]


class ScriptedProvider(Provider):
    """Plays scripts; equal calls in equal order get equal answers. ``script`` says what a script is made of.

    The script of a call is, in this order: the one that ``script`` returns, if that is a function; the one in
    ``prompts`` whose key occurs in the last message (upper or lower case, the first that fits); the next one of
    ``turns``, the last of them again and again; ``script``; a steady flow of ``tokens`` words; an echo of the last
    message with a remark. The latter two run at ``tokens_per_second``, as fast as they are taken when it is 0.

    A script that neither ends itself nor fails is finished with ``stop`` and, unless ``usage`` is false or the script
    has figures of its own, with usage: a token for every piece of text, and for every word of the messages. Scripts in
    any form of ``script`` are taken; a wrong one raises ``ScriptError`` here, or in the call when a function made it.
    """

    def __init__(
        self,
        *,
        script: Iterable[Any] | Chooser | None = None,
        prompts: Mapping[str, Iterable[Any]] | None = None,
        turns: Iterable[Iterable[Any]] = (),
        tokens: int = 0,
        tokens_per_second: float = 50.0,
        usage: bool = True,
    ) -> None:
        self._choose = script if callable(script) else None
        self._script = None if script is None or callable(script) else parse_script(script)
        self._prompts = {key.lower(): parse_script(steps) for key, steps in (prompts or {}).items()}
        self._turns = [parse_script(steps) for steps in turns]
        self._tokens = tokens
        self._rate = tokens_per_second
        self._usage = usage
        #: Every call so far, oldest first.
        self.requests: list[ProviderRequest] = []

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Play the script of this call; see ``Provider.stream``."""
        self.requests.append(request)
        script = self._script_of(request)
        tally = _Tally(request)
        clock = asyncio.get_running_loop().time
        for step in script:
            if isinstance(step, Paced):
                start = clock()
                for number, piece in enumerate(step.pieces()):
                    if step.rate and (delay := start + number / step.rate - clock()) > 0:
                        await asyncio.sleep(delay)
                    tally.output += 1
                    yield piece
            elif isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Cut):
                return
            elif isinstance(step, Stall):
                await asyncio.Event().wait()
            elif isinstance(step, BaseException | type):
                raise step
            else:
                tally.count(step)
                yield step
        if self._usage and not tally.told:
            yield tally.usage()
        if not tally.finished:
            yield Finish("stop")

    def _script_of(self, request: ProviderRequest) -> Script:
        if self._choose:
            return parse_script(self._choose(request))
        prompt = request.messages[-1].content if request.messages else ""
        lower = prompt.lower()
        for key, script in self._prompts.items():
            if key in lower:
                return script
        if self._turns:
            return self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]
        if self._script is not None:
            return self._script
        if self._tokens:
            return (Paced(self._tokens, self._rate),)
        return (Paced(rate=self._rate, text=_echo(prompt)),)


@dataclass(slots=True)
class _Tally:
    """What a call has yielded so far."""

    request: ProviderRequest
    output: int = 0
    reasoning: int = 0
    told: bool = False
    finished: bool = False

    def count(self, step: Step) -> None:
        """Count a part."""
        if isinstance(step, str | ReasoningDelta | RefusalDelta):
            self.output += 1
            self.reasoning += isinstance(step, ReasoningDelta)
        self.told |= isinstance(step, Usage)
        self.finished |= isinstance(step, Finish)

    def usage(self) -> Usage:
        """Return the figures."""
        words = sum(len(message.content.split()) for message in self.request.messages)
        return Usage(input_tokens=words, output_tokens=self.output, reasoning_tokens=self.reasoning)


def _echo(prompt: str) -> str:
    return f"You wrote: {prompt}\n\nThis answer comes from a script and no model has read your message."
