"""A fake service and providers that speak to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from llmstream.providers import Provider
from llmstream.providers.openai import OpenAIProvider
from tests.upstream import Upstream

from .services import KEY, SERVICES, Service


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A service of the test's own."""
    with Upstream() as found:
        yield found


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[OpenAIProvider]:
    """The provider under test, which asks ``upstream`` and tries nothing twice."""
    found = OpenAIProvider(base_url=upstream.url, api_key=KEY, max_retries=0)
    yield found
    await found.aclose()


@pytest.fixture(params=list(SERVICES))
def service(request: pytest.FixtureRequest) -> Service:
    """Each of the services."""
    return SERVICES[request.param]


@pytest.fixture
async def service_provider(upstream: Upstream, service: Service) -> AsyncIterator[Provider]:
    """The provider under test."""
    found = service.make(upstream)
    yield found
    await found.aclose()
