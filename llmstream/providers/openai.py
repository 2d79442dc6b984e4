"""Models behind OpenAI's Chat Completions API, or behind anything that speaks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import httpx2
import openai

from .base import ProviderPart, ProviderRequest
from .chat_chunks import ChatChunks
from .chat_messages import chat_request
from .event_reader import read_answer
from .openai_service import OpenAIService


class OpenAIProvider(OpenAIService):
    """Streams answers of a Chat Completions API through the ``openai`` package.

    A call asks for usage figures unless ``include_usage`` is false or the service has turned such a call down. The
    other options are those of ``OpenAIService``.
    """

    def __init__(self, *, include_usage: bool = True, **service: Any) -> None:
        super().__init__(**service)
        self._include_usage = include_usage

    def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Yield the parts of one answer; see ``Provider.stream``."""
        return read_answer(partial(self._open, request), ChatChunks())

    async def _open(self, request: ProviderRequest) -> httpx2.Response:
        return await self._open_stream(request.generation, partial(self._ask, request))

    async def _ask(self, request: ProviderRequest, client: openai.AsyncOpenAI) -> object:
        include_usage = self._include_usage
        try:
            return await self._post(client, request, include_usage)
        except openai.APIStatusError as error:
            if not (include_usage and _refuses_usage(error)):
                raise
        self._include_usage = False
        return await self._post(client, request, False)

    async def _post(self, client: openai.AsyncOpenAI, request: ProviderRequest, include_usage: bool) -> object:
        body = chat_request(request)
        if include_usage:
            body.setdefault("stream_options", {"include_usage": True})
        # The untyped call: the typed one copies every message of the history through its schema.
        return await client.post(
            "/chat/completions",
            cast_to=httpx2.Response,
            body=body,
            options={"headers": {"Accept-Encoding": "identity", "X-Client-Request-Id": request.generation}},
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )


def _refuses_usage(error: openai.APIStatusError) -> bool:
    """Whether a service turned a call down for its ``stream_options``, as some gateways do."""
    return error.status_code in {400, 422} and "stream_options" in str(error.body)
