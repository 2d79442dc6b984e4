"""Reading an answer that goes on at the service whether it is read or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeAlias

import httpx2

from ..exceptions import ProviderError, ProviderTimeout, ProviderTruncated
from .base import ProviderPart
from .event_reader import Answer
from .response_events import ResponseEvents

Opening: TypeAlias = Callable[[], Awaitable[httpx2.Response]]
#: A response that is being opened and read as far as its id, and the parts that it has begun with.
Begun: TypeAlias = "asyncio.Task[tuple[Answer, list[ProviderPart]]]"


async def attend(
    reader: ResponseEvents,
    opening: Opening,
    regaining: Opening,
    *,
    leave: Callable[[Begun, ResponseEvents], None],
    max_retries: int,
) -> AsyncGenerator[ProviderPart, None]:
    """Yield an answer's parts over as many connections as it takes, ``max_retries`` of them without progress.

    ``leave`` is called when the answer is given up before its end, or even before it is known to have begun: the
    opening goes on, since only its outcome tells what there is to be cancelled.
    """
    begun = _begin(reader, opening)
    attempts = 0
    try:
        while True:
            before = reader.cursor
            lost: ProviderError | None = None
            try:
                answer, said = await asyncio.shield(begun)
                async with aclosing(answer):
                    for part in said:
                        yield part
                    while parts := await answer.read():
                        for part in parts:
                            yield part
                    await answer.read_end()
            except (ProviderTruncated, ProviderTimeout) as error:
                lost = error
            attempts = 1 if reader.cursor > before else attempts + 1
            if reader.ended or not reader.response_id or _has_failed(begun) or attempts > max_retries:
                break
            begun = _begin(reader, regaining)
        if lost:
            raise lost
    finally:
        # An answer that could not be opened is not ours: it has not begun, or another attempt may get at it.
        if not reader.ended and (attempts or not _has_failed(begun)):
            leave(begun, reader)


async def has_begun(begun: Begun, reader: ResponseEvents) -> bool:
    """Await whether there is an answer after all."""
    try:
        await begun
    except ProviderError:
        return False
    return bool(reader.response_id)


async def abandon(begun: Begun) -> None:
    """Close the connection of an answer, or the attempt to get one."""
    if not begun.cancel() and not _has_failed(begun):
        answer, _ = begun.result()
        await answer.aclose()


def _begin(reader: ResponseEvents, opening: Opening) -> Begun:
    return asyncio.create_task(_read_id(reader, opening))


async def _read_id(reader: ResponseEvents, opening: Opening) -> tuple[Answer, list[ProviderPart]]:
    answer = Answer(await opening(), reader)
    said: list[ProviderPart] = []
    try:
        while not reader.response_id and (parts := await answer.read()):
            said += parts
    except BaseException:
        await answer.aclose()
        raise
    return answer, said


def _has_failed(begun: Begun) -> bool:
    return begun.done() and (begun.cancelled() or begun.exception() is not None)
