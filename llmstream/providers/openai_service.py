"""What the providers for OpenAI's two APIs have in common: the package's client and its settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import httpx2
import openai

from .http_client import HTTPClients
from .sdk_provider import ErrorClasses, SDKProvider

_NO_KEY = "none"
_ERRORS: Final = ErrorClasses(
    openai.OpenAIError, openai.APIStatusError, openai.APITimeoutError, openai.APIConnectionError
)


class OpenAIService(SDKProvider[openai.AsyncOpenAI]):
    """A service that the ``openai`` package talks to.

    ``base_url``, ``api_key``, ``organization`` and ``project`` default to the package's environment variables; servers
    that want no key need none. ``headers`` and ``query`` go with every request. Times are seconds. The package tries
    ``max_retries`` times again when the service cannot be reached or is failing, as long as nothing has come; a
    service that asks to wait longer than ``max_retry_wait`` is not tried again but reported. ``read_timeout`` is the
    longest wait for bytes, the first ones included. With ``trust_env`` a proxy that the environment names is used.
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
        trust_env: bool = True,
    ) -> None:
        timeout = httpx2.Timeout(read_timeout, connect=connect_timeout)
        url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        http_clients = HTTPClients(
            openai.DefaultAsyncHttpxClient,
            httpx2.URL(url),
            timeout=timeout,
            max_retry_wait=max_retry_wait,
            trust_env=trust_env,
        )

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

        super().__init__(make, openai.AsyncOpenAI.close, _ERRORS)
