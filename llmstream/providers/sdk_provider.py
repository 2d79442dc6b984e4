"""What the providers whose packages are generated from one template (openai, anthropic) have in common."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

import httpx2

from ..exceptions import ProviderError, ProviderMalformed, ProviderTimeout, ProviderUnavailable
from .base import Provider
from .failures import retry_after_ms, status_failure
from .per_loop import PerLoop

logger = logging.getLogger("llmstream.providers")

C = TypeVar("C")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ErrorClasses:
    """The errors that a package raises: every one, and those for a status, a time limit and a connection."""

    every: type[Exception]
    status: type[Exception]
    timeout: type[Exception]
    connection: type[Exception]


class _StatusError(Protocol):
    status_code: int
    body: object
    response: httpx2.Response
    request_id: str | None


class SDKProvider(Provider, Generic[C]):
    """Holds one client of a package per event loop, calls it, and reports what it raises.

    Errors are ``ProviderError`` and its subclasses; neither they nor the logs hold the key or words of the service.
    """

    def __init__(
        self, make: Callable[[], C], close: Callable[[C], Coroutine[Any, Any, None]], errors: ErrorClasses
    ) -> None:
        self._clients: PerLoop[C] = PerLoop(make, close)
        self._errors = errors

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._clients.aclose()

    async def _call(self, subject: str, call: Callable[[C], Awaitable[R]]) -> R:
        """Call the package; ``subject`` says in the log whose call failed."""
        client = await self._clients.get()
        try:
            return await call(client)
        except self._errors.every as raised:
            error = self._report(subject, raised)
        # Raised out here, so that nothing of the service hangs on to it as its context.
        raise error

    async def _open_stream(self, generation: str, call: Callable[[C], Awaitable[object]]) -> httpx2.Response:
        """Return the response to a call once its head is there, and is the head of an event stream."""
        response = cast(httpx2.Response, await self._call(f"generation {generation}", call))
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in {"", "text/event-stream"}:
            await response.aclose()
            about = {"generation": generation, "code": ProviderMalformed.code}
            logger.warning("The model's service answered generation %s with no event stream", generation, extra=about)
            raise ProviderMalformed
        return response

    def _report(self, subject: str, raised: Exception) -> ProviderError:
        status = identity = None
        error: ProviderError
        if isinstance(raised, self._errors.status):
            told = cast(_StatusError, raised)
            status, identity = told.status_code, told.request_id
            error = status_failure(status, told.body, retry_after_ms(told.response.headers))
        elif isinstance(raised, self._errors.timeout):
            error = ProviderTimeout()
        elif isinstance(raised, self._errors.connection):
            error = ProviderUnavailable()
        else:
            error = ProviderError()
        logger.warning(
            "The model's service failed %s before its answer: %s, status %s, request id %s",
            *(subject, error.code, status, identity),
            extra={"generation": subject.removeprefix("generation "), "code": error.code},
        )
        return error
