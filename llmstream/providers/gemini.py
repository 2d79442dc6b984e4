"""Models behind Google's Gemini API, or behind the same on Google Cloud."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, cast

import httpx2
from google import genai
from google.auth.exceptions import GoogleAuthError, TransportError
from google.genai import errors, types

from ..exceptions import (
    ProviderError,
    ProviderMalformed,
    ProviderRejected,
    ProviderTimeout,
    ProviderTruncated,
    ProviderUnavailable,
)
from .base import Provider, ProviderPart, ProviderRequest
from .content_reader import ContentReader
from .content_turns import content_arguments
from .failures import retry_after_ms, status_failure
from .http_client import HTTPClients
from .per_loop import PerLoop

logger = logging.getLogger("llmstream.providers")

#: Statuses after which the package tries again; one that asks to wait is told at once.
_PASSING: Final = [408, 500, 502, 503, 504]
_FIRST_DELAY: Final = 0.5
#: How long the end of a body may take after the finish reason; the answer is complete without it.
_END_WAIT: Final = 5.0
_CONNECTIONS: Final = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)

#: What the package makes of data that is no JSON, or of another shape than its types.
_MALFORMED: Final = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
_FAILURES: Final = (errors.APIError, httpx2.HTTPError, OSError, GoogleAuthError, *_MALFORMED)

#: Where the responses go that the call at hand opens.
_OPENED: ContextVar[list[httpx2.Response]] = ContextVar("llmstream_gemini_responses")


class GeminiProvider(Provider):
    """Streams answers of the Gemini API through the ``google-genai`` package.

    ``api_key`` and ``base_url``, or with ``vertexai`` the ``project`` and ``location``, default to what the package
    finds in its environment variables. ``headers`` go with every request. Times are seconds. The package tries
    ``max_retries`` times again, at most ``max_retry_wait`` apart, when the service cannot be reached or is failing, as
    long as nothing has come; a rate limit is reported at once. ``read_timeout`` is the longest wait for bytes, the
    first ones included. With ``trust_env`` a proxy that the environment names is used.

    Errors are ``ProviderError`` and its subclasses; neither they nor the logs hold the key or words of the service.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        vertexai: bool | None = None,
        project: str | None = None,
        location: str | None = None,
        headers: Mapping[str, str] | None = None,
        max_retries: int = 2,
        max_retry_wait: float = 5.0,
        connect_timeout: float = 10.0,
        read_timeout: float = 600.0,
        trust_env: bool = True,
    ) -> None:
        url = base_url or os.environ.get("GOOGLE_GEMINI_BASE_URL") or "https://generativelanguage.googleapis.com"
        timeout = httpx2.Timeout(read_timeout, connect=connect_timeout)
        http_clients = HTTPClients(
            partial(httpx2.AsyncClient, follow_redirects=True, limits=_CONNECTIONS),
            httpx2.URL(url),
            timeout=timeout,
            max_retry_wait=max_retry_wait,
            trust_env=trust_env,
        )
        self._http_clients: PerLoop[httpx2.AsyncClient] = PerLoop(http_clients, httpx2.AsyncClient.aclose)
        retry_options = types.HttpRetryOptions(
            attempts=max_retries + 1,
            initial_delay=min(_FIRST_DELAY, max_retry_wait),
            max_delay=max_retry_wait,
            http_status_codes=_PASSING,
        )
        self._client = genai.Client(
            api_key=api_key,
            vertexai=vertexai,
            project=project,
            location=location,
            http_options=types.HttpOptions(
                base_url=base_url,
                headers=dict(headers or {}),
                retry_options=retry_options,
                httpx_async_client=_LoopClient(self._http_clients, timeout),
            ),
        )

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Yield the parts of one answer; see ``Provider.stream``."""
        reader = ContentReader()
        opened: list[httpx2.Response] = []
        chunks = await self._client.aio.models.generate_content_stream(**content_arguments(request))
        try:
            async with aclosing(cast(AsyncGenerator[types.GenerateContentResponse, None], chunks)):
                while (chunk := await _next(request, chunks, reader, opened)) is not None:
                    for part in reader.read(chunk):
                        yield part
        finally:
            # The package's generators leave this to the garbage collector.
            for response in opened:
                await response.aclose()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._http_clients.aclose()


class _LoopClient(httpx2.AsyncClient):
    """Sends requests through the running event loop's client, and tells the call at hand of its responses."""

    def __init__(self, clients: PerLoop[httpx2.AsyncClient], timeout: httpx2.Timeout) -> None:
        super().__init__(transport=httpx2.AsyncBaseTransport(), trust_env=False)
        self._clients = clients
        self._limits = timeout.as_dict()

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request; the package's own time limit is one for all of an answer and would be told to the service."""
        request.extensions = {**request.extensions, "timeout": self._limits}
        client = await self._clients.get()
        response = await client.send(request, **options)
        _OPENED.get().append(response)
        return response


async def _next(
    request: ProviderRequest,
    chunks: AsyncIterator[types.GenerateContentResponse],
    reader: ContentReader,
    opened: list[httpx2.Response],
) -> types.GenerateContentResponse | None:
    """Return the next chunk; what goes wrong after the answer has been finished is no failure any more."""
    token = _OPENED.set(opened)
    try:
        async with asyncio.timeout(_END_WAIT if reader.finished else None):
            return await anext(chunks, None)
    except _FAILURES as raised:
        if reader.finished:
            return None
        streaming = any(response.is_success for response in opened)
        if isinstance(raised, _MALFORMED) and not streaming:
            raise  # The package does not take what it was told to ask.
        error = _failure(raised, streaming=streaming)
        about = {"generation": request.generation, "code": error.code}
        logger.warning("The model's service failed generation %s: %s", *about.values(), extra=about)
    finally:
        _OPENED.reset(token)
    # Raised out here, so that nothing of the service hangs on to it as its context.
    raise error


def _failure(raised: Exception, *, streaming: bool) -> ProviderError:
    if isinstance(raised, errors.APIError):
        code: object = raised.code
        return status_failure(code if isinstance(code, int) else 0, raised.details, _wait(raised))
    if isinstance(raised, httpx2.TimeoutException):
        return ProviderTimeout()
    if isinstance(raised, httpx2.HTTPError | OSError | TransportError):
        return ProviderTruncated() if streaming else ProviderUnavailable()
    return ProviderRejected() if isinstance(raised, GoogleAuthError) else ProviderMalformed()


def _wait(error: errors.APIError) -> int | None:
    """Return the milliseconds to wait that a header or, as is Google's custom, the error itself asks for."""
    try:
        for detail in error.details["error"]["details"]:
            if str(detail.get("@type")).endswith("google.rpc.RetryInfo"):
                return max(0, round(float(detail["retryDelay"].removesuffix("s")) * 1000))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        pass
    return retry_after_ms(getattr(error.response, "headers", None) or {})
