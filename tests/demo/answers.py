"""An answer that goes on until a test has seen enough of it: what happens meanwhile may take its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import chain, count, islice
from typing import Any

from django.http import HttpRequest, HttpResponse

from llmstream.providers.base import Finish, ProviderRequest

PER_SECOND = 40
#: Should a test fail before it says so, or not care, the answer ends by itself.
LONGEST_SECONDS = 120

_enough: set[str] = set()


def enough(request: HttpRequest, generation: str) -> HttpResponse:
    """Let an answer end."""
    _enough.add(generation)
    return HttpResponse(status=204)


def has_enough(request: ProviderRequest) -> bool:
    """Whether a test lets this answer end."""
    return request.generation in _enough


async def long(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Write one paragraph without markup, so that what the page shows is the stored text to the letter."""
    yield "This is long."
    sentences = (f"Sentence {number} of this answer says nothing at all." for number in count())
    words = chain.from_iterable(sentence.split() for sentence in sentences)
    for word in islice(words, LONGEST_SECONDS * PER_SECOND):
        if has_enough(request):
            break
        await asyncio.sleep(1 / PER_SECOND)
        yield f" {word}"
    # Longer than whatever was seen before.
    yield " That is all."
    yield Finish("stop")
