"""A model's service that goes on with a response whether it is read or not, and what a crash leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from django.utils import timezone

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.exceptions import ProviderRejected, ProviderUnavailable
from llmstream.generations.prompts import Sent
from llmstream.models import Generation
from llmstream.providers.base import Cursor, Finish, ProviderPart, ProviderRequest, ResponseStarted, ResumableProvider
from tests.support import clean_engine

RESPONSE = "resp_1"


class Service:
    """One response; the test says what it generates. Its events are numbered from the beginning."""

    def __init__(self) -> None:
        self.events: list[ProviderPart] = [ResponseStarted(RESPONSE)]
        self.requests: list[ProviderRequest] = []
        self.resumed: list[int] = []
        self.cancelled: list[str] = []
        self.detached: set[str] = set()
        #: Whether the service still has the response, and whether it can be reached.
        self.kept = self.reachable = True
        self._news = asyncio.Event()

    def say(self, *parts: ProviderPart) -> None:
        """Generate."""
        self.events += parts
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def read(self, after: int) -> AsyncGenerator[ProviderPart, None]:
        """Yield what comes after an event, each with its cursor; who leaves without having detached cancels it."""
        try:
            while True:
                news = self._news
                for number, part in enumerate(self.events[after + 1 :], after + 1):
                    after = number
                    yield part
                    yield Cursor(number)
                    if isinstance(part, Finish):
                        return
                await news.wait()
        finally:
            if not isinstance(self.events[after], Finish):
                asyncio.get_running_loop().call_soon(self._leave)

    def _leave(self) -> None:
        if RESPONSE not in self.detached:
            self.cancelled.append(RESPONSE)


class ServiceProvider(ResumableProvider):
    """Asks the ``Service`` given in ``OPTIONS``."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Begin the response."""
        self.service.requests.append(request)
        return self.service.read(-1)

    async def resume(
        self, request: ProviderRequest, response_id: str, cursor: int
    ) -> AsyncGenerator[ProviderPart, None]:
        """Go on with it."""
        assert response_id == RESPONSE
        self.service.resumed.append(cursor)
        if not self.service.reachable:
            raise ProviderUnavailable
        if not self.service.kept:
            raise ProviderRejected
        async for part in self.service.read(cursor):
            yield part

    async def cancel(self, response_id: str) -> None:
        """End it."""
        self.service.cancelled.append(response_id)

    def detach(self, response_id: str) -> None:
        """Leave it running."""
        self.service.detached.add(response_id)


def served(service: Service, **entry: Any) -> dict[str, Any]:
    """Return an entry of MODELS whose service is at hand."""
    return {"PROVIDER": f"{__name__}.ServiceProvider", "OPTIONS": {"service": service}, **entry}


@asynccontextmanager
async def doomed_engine() -> AsyncIterator[Engine]:
    """An engine that dies with the block, as by ``kill -9``; the leases of what it ran have lapsed then."""
    async with clean_engine() as engine:
        yield engine
        owned = list(engine.runs)
    await run_db(lapse, *owned)


def lapse(*generations: int) -> None:
    """Let leases lapse, as a long silence of their process does."""
    past = timezone.now() - timedelta(seconds=60)
    Generation.objects.filter(pk__in=generations, status="running").update(lease_expires_at=past)


def fresh(sent: Sent) -> Generation:
    """Return the generation as it is now."""
    return Generation.objects.select_related("message").get(pk=sent.generation.pk)
