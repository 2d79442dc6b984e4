"""Models behind OpenAI's Responses API, in the foreground or in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from functools import partial
from typing import Any

import httpx2
import openai

from ..exceptions import ProviderError, ProviderRejected, ProviderTruncated
from .background import Begun, Opening, abandon, attend, has_begun
from .base import ProviderPart, ProviderRequest, ResumableProvider
from .event_reader import read_answer
from .openai_service import OpenAIService
from .response_events import ResponseEvents
from .response_input import response_request

logger = logging.getLogger("llmstream.providers")

#: How long the cancelling of an answer may take, which nobody waits for.
_CANCEL_WAIT = 10.0


class OpenAIResponsesProvider(OpenAIService, ResumableProvider):
    """Streams answers of the Responses API through the ``openai`` package.

    With ``background`` the service goes on with an answer when its connection is lost, and keeps its events for some
    minutes. A lost connection is taken up again where it broke, up to ``max_retries`` times without progress; another
    process does the same by ``resume``. Closing the stream of a background answer cancels it at the service, soon
    after; ``aclose`` waits for that. Without ``background`` closing the connection is what ends an answer.

    The other options are those of ``OpenAIService``.
    """

    def __init__(self, *, background: bool = False, max_retries: int = 2, **service: Any) -> None:
        super().__init__(max_retries=max_retries, **service)
        self._background = background
        self._max_retries = max_retries
        self._detached: set[str] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Yield the parts of one answer; see ``Provider.stream``."""
        reader = ResponseEvents(cursors=self._background)
        opening = partial(self._open, request)
        return self._attend(request, opening, reader) if self._background else read_answer(opening, reader)

    def resume(self, request: ProviderRequest, response_id: str, cursor: int) -> AsyncGenerator[ProviderPart, None]:
        """Yield the parts of a background answer after a cursor, all of them after -1; see ``ResumableProvider``."""
        reader = ResponseEvents(cursors=True, response_id=response_id, cursor=cursor)
        return self._attend(request, partial(self._reopen, request, reader), reader)

    async def cancel(self, response_id: str) -> None:
        """End a background answer, once or again; raises ProviderError."""
        await self._call(f"the cancelling of {response_id}", lambda client: client.responses.cancel(response_id))

    def detach(self, response_id: str) -> None:
        """Leave a background answer running when its stream is closed."""
        self._detached.add(response_id)

    async def aclose(self) -> None:
        """Let the answers of this event loop that were left be cancelled, and close its connections."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(task for task in list(self._leaving) if task.get_loop() is loop), return_exceptions=True)
        await super().aclose()

    async def _open(self, request: ProviderRequest) -> httpx2.Response:
        body = response_request(request)
        if self._background:
            body["background"] = True

        def ask(client: openai.AsyncOpenAI) -> Awaitable[object]:
            # The untyped call: the typed one copies every message of the history through its schema.
            return client.post(
                "/responses",
                cast_to=httpx2.Response,
                body=body,
                options={"headers": _headers(request)},
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )

        return await self._open_stream(request.generation, ask)

    async def _reopen(self, request: ProviderRequest, reader: ResponseEvents) -> httpx2.Response:
        async def ask(client: openai.AsyncOpenAI) -> object:
            stream = await client.responses.retrieve(
                reader.response_id,
                stream=True,
                starting_after=openai.omit if reader.cursor < 0 else reader.cursor,
                extra_headers=_headers(request),
            )
            return stream.response

        return await self._open_stream(request.generation, ask)

    def _attend(
        self, request: ProviderRequest, opening: Opening, reader: ResponseEvents
    ) -> AsyncGenerator[ProviderPart, None]:
        regaining = partial(self._regain, request, reader)
        return attend(reader, opening, regaining, leave=self._leave, max_retries=self._max_retries)

    async def _regain(self, request: ProviderRequest, reader: ResponseEvents) -> httpx2.Response:
        try:
            return await self._reopen(request, reader)
        except ProviderRejected:
            pass
        raise ProviderTruncated  # which is what it was before the service did not let us back in

    def _leave(self, begun: Begun, reader: ResponseEvents) -> None:
        task = asyncio.create_task(self._cancel_left(begun, reader))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _cancel_left(self, begun: Begun, reader: ResponseEvents) -> None:
        """Cancel an answer that nobody reads any more, which may be just beginning."""
        try:
            async with asyncio.timeout(_CANCEL_WAIT):
                begins = reader.response_id or await has_begun(begun, reader)
                if begins and reader.response_id not in self._detached:
                    await self.cancel(reader.response_id)
        except (ProviderError, TimeoutError):
            logger.warning("Response %s was left and could not be cancelled", reader.response_id or "without an id")
        finally:
            self._detached.discard(reader.response_id)
            await abandon(begun)


def _headers(request: ProviderRequest) -> dict[str, str]:
    return {"Accept-Encoding": "identity", "X-Client-Request-Id": request.generation}
