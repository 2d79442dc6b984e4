"""A model whose answer the prompt spells out, so that one server can play every part."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from itertools import cycle, islice

from llmstream.providers.base import Finish, Provider, ProviderPart, ProviderRequest, Usage

#: Text that breaks careless framing, encoding and cutting.
PIECES = (
    "Hel",
    "lo ",
    "wörld ",
    "日本 ",
    "🙂 ",
    "line\n",
    "two\r\n",
    "\n\n",
    "data: x\n",
    "id: 9\n\n",
    "\u2028",
    '"\\ ',
)


def script(tokens: int = 30, delay: float = 0.015, first: float = 0.0) -> str:
    """Return the prompt that asks for ``tokens`` pieces ``delay`` seconds apart, the first after ``first`` seconds."""
    return json.dumps({"tokens": tokens, "delay": delay, "first": first})


def answer(tokens: int) -> str:
    """Return the answer to such a prompt."""
    return "".join(f"{piece}{number} " for number, piece in enumerate(islice(cycle(PIECES), tokens)))


class PacedProvider(Provider):
    """Answers the last message, which ``script`` wrote, piece by piece; other messages get a short answer at once."""

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Yield the pieces, usage and a finish."""
        try:
            order = json.loads(request.messages[-1].content)
            tokens, delay, first = order["tokens"], order["delay"], order["first"]
        except (ValueError, TypeError, KeyError):
            tokens, delay, first = 3, 0.0, 0.0
        if first:
            await asyncio.sleep(first)
        for number, piece in enumerate(islice(cycle(PIECES), tokens)):
            yield f"{piece}{number} "
            if delay:
                await asyncio.sleep(delay)
        yield Usage(input_tokens=7, output_tokens=tokens)
        yield Finish("stop")
