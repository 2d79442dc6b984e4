"""Models behind OpenAI's Chat Completions API, or behind anything that speaks it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

import httpx2
import openai

from ..exceptions import ProviderError, ProviderMalformed, ProviderTimeout, ProviderTruncated
from .base import Provider, ProviderPart, ProviderRequest
from .byte_source import ByteSource, byte_source
from .chat_chunks import ChatChunks
from .event_data import EventData
from .failures import failure
from .http_client import READ_ERRORS, HTTPClients
from .per_loop import PerLoop

logger = logging.getLogger("llmstream.providers")

_NO_KEY = "none"
#: How long usage figures may take after the finish reason; the answer is complete without them.
_USAGE_WAIT = 5.0
#: How long the end of a body may lag behind its last event before its connection is given up.
_LAST_BYTES = 0.05


class OpenAIProvider(Provider):
    """Streams answers of a Chat Completions API through the ``openai`` package.

    ``base_url``, ``api_key``, ``organization`` and ``project`` default to the package's environment variables; servers
    that want no key need none. ``headers`` and ``query`` go with every request. Times are seconds. The package tries
    ``max_retries`` times again when the service cannot be reached or is failing, as long as nothing has come; a
    service that asks to wait longer than ``max_retry_wait`` is not tried again but reported. ``read_timeout`` is the
    longest wait for bytes, the first ones included. A call asks for usage figures unless ``include_usage`` is false or
    the service has turned such a call down. With ``trust_env`` a proxy that the environment names is used.

    Errors are ``ProviderError`` and its subclasses; neither they nor the logs hold the key or words of the service.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        max_retries: int = 2,
        max_retry_wait: float = 5.0,
        connect_timeout: float = 10.0,
        read_timeout: float = 600.0,
        include_usage: bool = True,
        trust_env: bool = True,
    ) -> None:
        self._include_usage = include_usage
        timeout = httpx2.Timeout(read_timeout, connect=connect_timeout)
        url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        http_clients = HTTPClients(httpx2.URL(url), timeout=timeout, max_retry_wait=max_retry_wait, trust_env=trust_env)

        def make() -> openai.AsyncOpenAI:
            return openai.AsyncOpenAI(
                base_url=url,
                api_key=api_key or os.environ.get("OPENAI_API_KEY") or _NO_KEY,
                organization=organization,
                project=project,
                default_headers=headers,
                default_query=query,
                max_retries=max_retries,
                timeout=timeout,
                http_client=http_clients(),
            )

        self._clients: PerLoop[openai.AsyncOpenAI] = PerLoop(make, openai.AsyncOpenAI.close)

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Yield the parts of one answer; see ``Provider.stream``."""
        response = await self._open(request)
        try:
            events, chat = EventData(), ChatChunks()
            source = byte_source(response)
            while not chat.done and (chunk := await _read(source, chat)):
                for part in chat.read(events.feed(chunk)):
                    yield part
                if events.overflow:
                    raise ProviderMalformed
                if chat.failure and not chat.finished:
                    raise chat.failure
            if chat.done:
                await _read_end(source)
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._clients.aclose()

    async def _open(self, request: ProviderRequest) -> httpx2.Response:
        """Return the response to a call once its head is there, and is the head of an event stream."""
        response = await self._post(request)
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in {"", "text/event-stream"}:
            await response.aclose()
            logger.warning("The model's service answered generation %s with no event stream", request.generation)
            raise ProviderMalformed
        return response

    async def _post(self, request: ProviderRequest) -> httpx2.Response:
        client = await self._clients.get()
        try:
            return await self._call(client, request)
        except openai.OpenAIError as raised:
            refused = self._include_usage and _refuses_usage(raised)
            error = _report(request, raised)
        # Raised out here, so that nothing of the service hangs on to it as its context.
        if not refused:
            raise error
        self._include_usage = False
        return await self._post(request)

    async def _call(self, client: openai.AsyncOpenAI, request: ProviderRequest) -> httpx2.Response:
        body: dict[str, Any] = {
            **request.options,
            "model": request.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "stream": True,
        }
        if self._include_usage:
            body.setdefault("stream_options", {"include_usage": True})
        # The untyped call: the typed one copies every message of the history through its schema.
        response: object = await client.post(
            "/chat/completions",
            cast_to=httpx2.Response,
            body=body,
            options={"headers": {"Accept-Encoding": "identity", "X-Client-Request-Id": request.generation}},
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        return cast(httpx2.Response, response)


async def _read(source: ByteSource, chat: ChatChunks) -> bytes:
    """Return the next bytes; what goes wrong after the answer has been finished is no failure any more."""
    try:
        if not chat.finished:
            return await source.readany()
        async with asyncio.timeout(_USAGE_WAIT):
            return await source.readany()
    except READ_ERRORS as raised:
        if chat.finished:
            return b""
        error = ProviderTimeout() if isinstance(raised, TimeoutError | httpx2.TimeoutException) else ProviderTruncated()
    raise error


async def _read_end(source: ByteSource) -> None:
    """Read a body to its end, if that comes at once, so that its connection can be used again."""
    try:
        async with asyncio.timeout(_LAST_BYTES):
            while await source.readany():
                pass
    except READ_ERRORS:
        pass


def _refuses_usage(error: openai.OpenAIError) -> bool:
    """Whether a service turned a call down for its ``stream_options``, as some gateways do."""
    return (
        isinstance(error, openai.APIStatusError)
        and error.status_code in {400, 422}
        and "stream_options" in str(error.body)
    )


def _report(request: ProviderRequest, raised: openai.OpenAIError) -> ProviderError:
    error = failure(raised)
    status = raised.status_code if isinstance(raised, openai.APIStatusError) else None
    identity = raised.request_id if isinstance(raised, openai.APIStatusError) else None
    logger.warning(
        "The model's service failed generation %s before its answer: %s, status %s, request id %s",
        *(request.generation, error.code, status, identity),
    )
    return error
