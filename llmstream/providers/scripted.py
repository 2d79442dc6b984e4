"""A model that says what it is told to: for tests, demonstrations and benchmarks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .base import (
    ChatMessage,
    Finish,
    Provider,
    ProviderPart,
    ProviderRequest,
    ReasoningDelta,
    RefusalDelta,
    ToolCall,
    Usage,
)
from .script import Cut, NextCall, Paced, Played, Result, Script, Stall, Step, Wait, parse_script

_QUOTED = 200

_REMARK = (
    "This is a scripted answer: no model has been asked.\n\n"
    "It comes a word at a time, as a model's would, so that everything around it can be tried: reload the page and it "
    "goes on, open a second tab and both keep in step, stop it and what is here stays.\n\n"
    "```python\n"
    "for word in answer.split():\n"
    "    await show(word)\n"
    "```\n\n"
    "Every word was in the database before you saw it."
)

#: Chooses the script of a call.
Chooser = Callable[[ProviderRequest], Iterable[Any]]


class ScriptedProvider(Provider):
    """Plays scripts; equal calls in equal order get equal answers. See ``script`` for what a script is made of.

    The script of a call is the one that ``scripts`` has for its prompt, the last message that is not the model's; else
    the next one of ``turns``, the last of them again and again; else ``script``, or what it returns if it is a function
    of the request; else ``tokens`` words of filler text; else the prompt quoted, and a remark. The latter two run at
    ``per_second`` words. Of a script with ``NextCall`` in it, the first part is for the first call about a prompt, the
    second for the one that follows the tools, and so on; the last part stays.

    A script that neither ends itself nor fails is finished with ``stop`` and, unless ``usage`` is false or the script
    has figures of its own, with usage: a token for every piece of text, and for every word of the messages. A wrong
    script raises ``ScriptError``, here or, when a function made it, in the call.
    """

    def __init__(
        self,
        script: Iterable[Any] | Chooser | None = None,
        *,
        scripts: Mapping[str, Iterable[Any]] | None = None,
        turns: Iterable[Iterable[Any]] = (),
        tokens: int = 0,
        per_second: float = 25.0,
        usage: bool = True,
    ) -> None:
        self._choose = script if callable(script) else None
        self._script = None if script is None or callable(script) else parse_script(script)
        self._scripts = {prompt: parse_script(steps) for prompt, steps in (scripts or {}).items()}
        self._turns = [parse_script(steps) for steps in turns]
        self._tokens = tokens
        self._per_second = per_second
        self._usage = usage
        #: The last hundred calls, oldest first.
        self.requests: deque[ProviderRequest] = deque(maxlen=100)

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Play the script of this call; see ``Provider.stream``."""
        self.requests.append(request)
        turns = _since_prompt(request)
        script = _part_of(self._script_of(request), sum(bool(turn.tool_calls) for turn in turns))
        tools = [turn for turn in turns if turn.role == "tool"]
        tally = _Tally(request)
        clock = asyncio.get_running_loop().time
        for step in script:
            if isinstance(step, Paced):
                start = clock()
                interval = 1 / step.per_second if step.per_second else 0.0
                for number, piece in enumerate(step.pieces()):
                    await asyncio.sleep(max(0.0, start + number * interval - clock()))
                    tally.output += 1
                    yield piece
            elif isinstance(step, Cut):
                return
            elif isinstance(step, Wait | Stall | BaseException | type):
                await _act(step)
            elif isinstance(step, Result):
                tally.output += 1
                yield tools[step.number].content if step.number < len(tools) else ""
            else:
                tally.count(step)
                yield step
        if self._usage and not tally.told:
            yield tally.usage()
        if not tally.finished:
            yield Finish("tool_calls" if tally.asked else "stop")

    def _script_of(self, request: ProviderRequest) -> Script:
        prompt = _prompt(request)
        if (script := self._scripts.get(prompt)) is not None:
            return script
        if self._turns:
            return self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]
        if self._choose:
            return parse_script(self._choose(request))
        if self._script is not None:
            return self._script
        text = "" if self._tokens else f"You said: {prompt[:_QUOTED]}\n\n{_REMARK}"
        return (Paced(text, self._tokens, self._per_second),)


def _prompt(request: ProviderRequest) -> str:
    turns = [turn for turn in request.messages if turn.role not in ("assistant", "tool")]
    return turns[-1].content if turns else ""


def _since_prompt(request: ProviderRequest) -> Sequence[ChatMessage]:
    """Return what the model has done about its prompt in earlier calls."""
    count = 0
    for turn in reversed(request.messages):
        if turn.role not in ("assistant", "tool"):
            break
        count += 1
    return request.messages[len(request.messages) - count :]


def _part_of(script: Script, call: int) -> Sequence[Played]:
    """Return the part of a script that is for one of the calls of a prompt."""
    parts: list[list[Played]] = [[]]
    for step in script:
        if isinstance(step, NextCall):
            parts.append([])
        else:
            parts[-1].append(step)
    return parts[min(call, len(parts) - 1)]


async def _act(step: Wait | Stall | BaseException | type[BaseException]) -> None:
    if isinstance(step, Wait):
        await asyncio.sleep(step.seconds)
    elif isinstance(step, Stall):
        await asyncio.Event().wait()
    else:
        raise step if isinstance(step, type) else step.with_traceback(None)


@dataclass(slots=True)
class _Tally:
    """What a call has yielded so far."""

    request: ProviderRequest
    output: int = 0
    reasoning: int = 0
    told: bool = False
    finished: bool = False
    asked: bool = False

    def count(self, step: Step) -> None:
        """Count a part."""
        if isinstance(step, str | ReasoningDelta | RefusalDelta):
            self.output += 1
            self.reasoning += isinstance(step, ReasoningDelta)
        self.told |= isinstance(step, Usage)
        self.finished |= isinstance(step, Finish)
        self.asked |= isinstance(step, ToolCall)

    def usage(self) -> Usage:
        """Return the figures."""
        words = sum(len(message.content.split()) for message in self.request.messages)
        return Usage(input_tokens=words, output_tokens=self.output, reasoning_tokens=self.reasoning)
