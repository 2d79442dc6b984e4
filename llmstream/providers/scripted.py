"""A provider that follows a script: deterministic answers and faults, for tests, demos and recorded streams.

A script is a list of steps, plain data so that it fits into settings:

=================================  ====================================================================
``"text"``                         a piece of the answer
``0.5``                            wait that many seconds
``{"text": …, "per_second": 50}``  the text word by word at that rate, by the clock: it does not drift
``{"reasoning": "text"}``          a piece of reasoning
``{"refusal": "text"}``            a piece of a refusal
``{"usage": {…}}``                 figures of ``Usage``, instead of the ones that are counted
``{"finish": "length"}``           the finish reason; ``stop`` when the script ends without one
``{"error": "code", …}``           raise the provider error of that code; ``retry_after_ms`` may be given
``{"raise": "text"}``              raise an exception that is no provider error
``{"cut": true}``                  end without a finish reason, as a broken connection does
``{"stall": true}``                say nothing more
=================================  ====================================================================
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from ..exceptions import ProviderError
from .base import Finish, Provider, ProviderPart, ProviderRequest, ReasoningDelta, RefusalDelta, Usage

Step: TypeAlias = str | float | Mapping[str, Any]
Script: TypeAlias = Sequence[Step]

_WORDS = re.compile(r"\s*\S+\s*")
_KEYS = ("text", "reasoning", "refusal", "usage", "finish", "error", "raise", "cut", "stall")

_DEFAULT = (
    "This is a scripted answer: no model has been asked.\n\n"
    "It comes a word at a time, as a model's would, so that everything around it can be tried: reload the page and it "
    "goes on, open a second tab and both keep in step, stop it and what is here stays.\n\n"
    "```python\n"
    "for word in answer.split():\n"
    "    await show(word)\n"
    "```\n\n"
    "Every word was in the database before you saw it."
)


class ScriptedProvider(Provider):
    """Answers every prompt by a script.

    ``script`` is the one to follow, or a function from the request to one. ``scripts`` maps prompts to scripts of their
    own. Without either the answer quotes the prompt and goes on with a fixed text, ``per_second`` words a second.
    """

    def __init__(
        self,
        script: Script | Callable[[ProviderRequest], Script] | None = None,
        *,
        scripts: Mapping[str, Script] | None = None,
        per_second: float = 25.0,
    ) -> None:
        self._script = script
        self._scripts = scripts or {}
        self._per_second = per_second
        for known in [*self._scripts.values(), *([script] if script and not callable(script) else [])]:
            _check(known)

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Follow the script; count words as tokens unless it gives figures."""
        words, usage, finish = 0, None, "stop"
        for step in self._script_for(request):
            if isinstance(step, Mapping):
                if "usage" in step:
                    usage = Usage(**step["usage"])
                elif "finish" in step:
                    finish = step["finish"]
                elif "cut" in step:
                    return
                else:
                    async for part in _play(step):
                        words += 1
                        yield part
            elif isinstance(step, str):
                words += 1
                yield step
            else:
                await asyncio.sleep(step)
        yield usage or Usage(sum(len(message.content.split()) for message in request.messages), words)
        yield Finish(finish)

    def _script_for(self, request: ProviderRequest) -> Script:
        prompt = request.messages[-1].content if request.messages else ""
        if prompt in self._scripts:
            return self._scripts[prompt]
        if callable(self._script):
            script = self._script(request)
            _check(script)
            return script
        if self._script is not None:
            return self._script
        return [{"text": f"You said: {prompt[:200]}\n\n{_DEFAULT}", "per_second": self._per_second}]


async def _play(step: Mapping[str, Any]) -> AsyncGenerator[ProviderPart, None]:
    if "text" in step:
        async for word in _paced(step["text"], step.get("per_second", 0.0)):
            yield word
    elif "reasoning" in step:
        yield ReasoningDelta(step["reasoning"])
    elif "refusal" in step:
        yield RefusalDelta(step["refusal"])
    elif "error" in step:
        raise _error(step["error"])(retry_after_ms=step.get("retry_after_ms"))
    elif "raise" in step:
        raise RuntimeError(step["raise"])
    else:
        await asyncio.Event().wait()


async def _paced(text: str, per_second: float) -> AsyncGenerator[str, None]:
    loop = asyncio.get_running_loop()
    start = loop.time()
    for count, word in enumerate(_WORDS.findall(text)):
        if per_second and (left := start + count / per_second - loop.time()) > 0:
            await asyncio.sleep(left)
        yield word


def _error(code: str) -> type[ProviderError]:
    known: dict[str, type[ProviderError]] = {ProviderError.code: ProviderError}
    known.update((error.code, error) for error in _subclasses(ProviderError))
    if code not in known:
        raise ValueError(f"No provider error has the code {code!r}; there are: {', '.join(sorted(known))}.")
    return known[code]


def _subclasses(of: type[ProviderError]) -> Iterator[type[ProviderError]]:
    for sub in of.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def _check(script: Script) -> None:
    """Raise ValueError for a step that is none, when the script is given and not in the middle of an answer."""
    for step in script:
        if isinstance(step, Mapping):
            if not any(key in step for key in _KEYS):
                raise ValueError(f"{step!r} is no step of a script; its key must be one of: {', '.join(_KEYS)}.")
            if "error" in step:
                _error(step["error"])
        elif not isinstance(step, str | int | float):
            raise ValueError(f"{step!r} is no step of a script.")
