"""Models behind Anthropic's Messages API."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Mapping
from functools import partial
from typing import Final

import anthropic
import httpx2

from .base import ProviderPart, ProviderRequest
from .event_reader import read_answer
from .http_client import HTTPClients
from .message_events import MessageEvents
from .message_turns import message_request
from .sdk_provider import ErrorClasses, SDKProvider

_ERRORS: Final = ErrorClasses(
    anthropic.AnthropicError, anthropic.APIStatusError, anthropic.APITimeoutError, anthropic.APIConnectionError
)


class AnthropicProvider(SDKProvider[anthropic.AsyncAnthropic]):
    """Streams answers of the Messages API through the ``anthropic`` package.

    ``api_key``, ``auth_token`` and ``base_url`` default to what the package finds in its environment variables and
    profiles. ``headers`` and ``query`` go with every request. Times are seconds. The package tries ``max_retries``
    times again when the service cannot be reached or is failing, as long as nothing has come; a service that asks to
    wait longer than ``max_retry_wait`` is not tried again but reported. ``read_timeout`` is the longest wait for bytes,
    the first ones included. With ``trust_env`` a proxy that the environment names is used. An answer has at most 8192
    tokens unless the call's parameters have a ``max_tokens``. Calls with the results of tools go without ``thinking``
    that has a budget, which the service would want to see again.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        auth_token: str | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        max_retries: int = 2,
        max_retry_wait: float = 5.0,
        connect_timeout: float = 10.0,
        read_timeout: float = 600.0,
        trust_env: bool = True,
    ) -> None:
        timeout = httpx2.Timeout(read_timeout, connect=connect_timeout)
        http_clients = HTTPClients(
            anthropic.DefaultAsyncHttpxClient,
            httpx2.URL(base_url or os.environ.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com"),
            timeout=timeout,
            max_retry_wait=max_retry_wait,
            trust_env=trust_env,
        )

        def make() -> anthropic.AsyncAnthropic:
            return anthropic.AsyncAnthropic(
                base_url=base_url,
                api_key=api_key,
                auth_token=auth_token,
                default_headers=headers,
                default_query=query,
                max_retries=max_retries,
                timeout=timeout,
                http_client=http_clients(),
            )

        super().__init__(make, anthropic.AsyncAnthropic.close, _ERRORS)

    def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Yield the parts of one answer; see ``Provider.stream``."""
        return read_answer(partial(self._open, request), MessageEvents())

    async def _open(self, request: ProviderRequest) -> httpx2.Response:
        return await self._open_stream(request.generation, partial(_post, request))


def _post(request: ProviderRequest, client: anthropic.AsyncAnthropic) -> Awaitable[object]:
    # The untyped call: the typed one copies every message of the history through its schema.
    return client.post(
        "/v1/messages",
        cast_to=httpx2.Response,
        body=message_request(request),
        options={"headers": {"Accept-Encoding": "identity", "X-Client-Request-Id": request.generation}},
        stream=True,
        stream_cls=anthropic.AsyncStream[object],
    )
