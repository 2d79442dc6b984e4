"""A site that is watched, and answers of every kind to be watched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.exceptions import ProviderTimeout
from llmstream.generations.endings import stop
from llmstream.models import Generation
from llmstream.providers.base import Finish, ProviderRequest, ToolCall, Usage
from tests.support import asked, clean_engine, ended, model, site, stored_one
from tests.tools.site import tools

#: Said by people, models, tools and their failures; nobody who watches may learn it.
SECRET = "the-word-that-stays-here"


async def helped(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Ask for a tool, then answer with what it returned."""
    if any(turn.role == "tool" for turn in request.messages):
        yield SECRET
        yield Usage(30, 20, reasoning_tokens=5, cached_tokens=8, cache_write_tokens=4)
    else:
        yield ToolCall("call_1", "big", '{"size": 3}')
        yield ToolCall("call_2", "fail", f'{{"text": "{SECRET}"}}')
        yield Usage(10, 5)
    yield Finish("stop")


async def late(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Fail."""
    yield SECRET
    raise ProviderTimeout(SECRET)


async def broken(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Raise what a careless adapter may, with what was said in it."""
    yield SECRET
    raise RuntimeError(f"cannot read {SECRET}")


async def endless(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Say something, and nothing more."""
    yield SECRET
    await asyncio.Event().wait()


MODELS = {
    "helped": model(helped, MODEL="helper-1", TOOLS=tools("big", "fail")),
    "late": model(late),
    "broken": model(broken),
    "endless": model(endless),
}


@asynccontextmanager
async def watched(*observers: str) -> AsyncIterator[Engine]:
    """An engine that begins with these observers."""
    with site(models=MODELS, OBSERVERS=observers):
        async with clean_engine() as engine:
            yield engine


async def answer(engine: Engine, name: str) -> Generation:
    """Return an answer of a model that has ended."""
    return await ended((await asked(engine, SECRET, model=name)).generation)


async def stopped(engine: Engine) -> Generation:
    """Return an answer that somebody has stopped."""
    sent = await asked(engine, SECRET, model="endless")
    await stored_one(sent.conversation, "text-delta")
    await run_db(stop, sent.generation.pk)
    return await ended(sent.generation)
