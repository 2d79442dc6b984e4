"""Starlette's StreamingResponse; ``/sdk`` relays an OpenAI-compatible upstream through the openai package."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from benchmarks.source import CLOSING, OPENING, Answer, frame, paced

upstream = AsyncOpenAI(
    base_url=os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:1/v1"), api_key="bench", max_retries=0
)


async def paced_answer(answer: Answer) -> AsyncIterator[bytes]:
    """The paced answer as SSE."""
    yield OPENING
    async for text in paced(answer):
        yield frame(text)
    yield CLOSING


async def relayed_answer() -> AsyncIterator[bytes]:
    """What the upstream says as SSE, by the package's stream objects."""
    yield OPENING
    chunks = await upstream.chat.completions.create(
        model="bench", messages=[{"role": "user", "content": "bench"}], stream=True
    )
    async for chunk in chunks:
        if chunk.choices and (text := chunk.choices[0].delta.content):
            yield frame(text)
    yield CLOSING


async def stream(request: Request) -> StreamingResponse:
    """Stream the answer that the query asks for."""
    answer = Answer.from_query(request.url.query)
    return StreamingResponse(paced_answer(answer), media_type="text/event-stream")


async def relay(request: Request) -> StreamingResponse:
    """Stream the upstream's answer."""
    return StreamingResponse(relayed_answer(), media_type="text/event-stream")


app = Starlette(routes=[Route("/", stream), Route("/sdk", relay)])
