"""The embedded model: a small one that needs no key, no account and no service."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from .base import Provider, ProviderPart, ProviderRequest
from .local_engine import Address, EngineOptions, engine
from .local_model import default_path
from .openai import OpenAIProvider

#: A model of this size repeats itself without end unless it is held.
_PARAMETERS = {"temperature": 0.2, "top_p": 0.9, "repeat_penalty": 1.1, "max_tokens": 1024}
_MOST_THREADS = 4


class LocalProvider(Provider):
    """Runs a GGUF model with llama.cpp in a process of its own and asks it through its OpenAI-compatible endpoint.

    The model is loaded when the first reader opens a conversation, if it is the site's default one, or on first use:
    off the event loop, and once per server process however many models entries name it. ``model_path`` defaults to the
    file that ``manage.py llmstream_fetch_model`` fetches. ``context`` is the room of one conversation in tokens, prompt
    and answer together; ``slots`` conversations are answered at once and others wait; ``threads`` defaults to the cores
    of the machine, four at most.

    Raises ``ProviderUnavailable`` when the package or the model's file is missing (the log says what to run) and
    ``ProviderContextExceeded`` when a conversation has outgrown ``context``.
    """

    def __init__(
        self,
        *,
        model_path: str | Path | None = None,
        context: int = 4096,
        slots: int = 4,
        threads: int | None = None,
    ) -> None:
        path = Path(model_path) if model_path else default_path()
        self._engine = engine(EngineOptions(path, context, slots, threads or min(_cores(), _MOST_THREADS)))
        self._api: tuple[Address, OpenAIProvider] | None = None

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Yield the parts of one answer; see ``Provider.stream``."""
        address = await self._start()
        parameters = {**_PARAMETERS, **request.options}
        request = replace(request, model=request.model or "local", options=parameters)
        api = await self._openai(address)
        async with aclosing(api.stream(request)) as parts:
            async for part in parts:
                yield part

    async def prepare(self) -> None:
        """Load the model, if it is not loaded yet.

        A first call is not tried: measured, it makes the first answer no faster.
        """
        await self._start()

    async def _start(self) -> Address:
        if address := self._engine.address:
            return address
        return await asyncio.to_thread(self._engine.start)

    async def _openai(self, address: Address) -> OpenAIProvider:
        if self._api is None or self._api[0] != address:
            before = self._api
            self._api = address, OpenAIProvider(base_url=address.url, api_key=address.api_key, trust_env=False)
            if before is not None:
                await before[1].aclose()  # of an engine that has died
        return self._api[1]

    async def aclose(self) -> None:
        """Close the connections of the running event loop; the model stays loaded until the process ends."""
        if self._api is not None:
            await self._api[1].aclose()


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
