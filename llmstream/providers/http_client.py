"""The HTTP client under the packages of the services, all of which speak through httpx2."""

from __future__ import annotations

from collections.abc import Callable
from urllib.request import getproxies, proxy_bypass

import httpx2

from .failures import retry_after_ms

try:
    import aiohttp

    from .aiohttp_transport import AiohttpTransport
except ImportError:  # The extras of the services bring aiohttp; without it the tokens cost more CPU.
    LEAN = False
    READ_ERRORS: tuple[type[Exception], ...] = (OSError, httpx2.HTTPError)
else:
    LEAN = True
    READ_ERRORS = (OSError, httpx2.HTTPError, aiohttp.ClientError)

#: Idle connections are closed before common servers and balancers close them.
KEEPALIVE = 4.0


class HTTPClients:
    """Makes HTTP clients, one per event loop, for one base URL; ``client`` makes the package's kind of them.

    Tokens come through aiohttp; where a proxy of the environment is in the way, through the package's default.
    """

    def __init__(
        self,
        client: Callable[..., httpx2.AsyncClient],
        base_url: httpx2.URL,
        *,
        timeout: httpx2.Timeout,
        max_retry_wait: float,
        trust_env: bool,
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._max_retry_wait = max_retry_wait
        self._trust_env = trust_env
        self._lean = LEAN and not (trust_env and _proxy(base_url))
        # Reading the machine's certificates takes a while, so it is done once and not on the event loop.
        self._ssl_context = httpx2.create_ssl_context() if base_url.scheme == "https" and self._lean else None

    def __call__(self) -> httpx2.AsyncClient:
        """Return a client for the running event loop."""
        hooks = {"response": [self._limit_wait]}
        if self._lean:
            return self._client(
                transport=AiohttpTransport(self._ssl_context, KEEPALIVE), timeout=self._timeout, event_hooks=hooks
            )
        return self._client(timeout=self._timeout, event_hooks=hooks, trust_env=self._trust_env)

    async def _limit_wait(self, response: httpx2.Response) -> None:
        """Keep the package from sleeping through a long ``Retry-After``: the caller is told at once instead."""
        wait = retry_after_ms(response.headers)
        if response.is_error and wait is not None and wait > self._max_retry_wait * 1000:
            response.headers["x-should-retry"] = "false"


def _proxy(url: httpx2.URL) -> bool:
    proxies = getproxies()
    return bool(proxies.get(url.scheme) or proxies.get("all")) and not proxy_bypass(url.host)
