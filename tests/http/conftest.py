"""What tests of the HTTP surface share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.test import AsyncClient

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.http.handoff import StreamHandoff
from tests.documentation import snippet
from tests.http.client import signed_in
from tests.support import changed


@pytest.fixture
async def client(running: Engine) -> AsyncClient:
    """Ann's client."""
    return (await run_db(signed_in))[0]


@pytest.fixture(params=["handoff", "django"])
def app(request: pytest.FixtureRequest) -> Any:
    """The application as a site serves it, and without the wrapper."""
    return StreamHandoff(ASGIHandler()) if request.param == "handoff" else ASGIHandler()


@pytest.fixture
def ticketed() -> Iterator[None]:
    """The settings of the documentation's example of tickets."""
    with changed(**snippet("docs/deployment.md", "TICKET_LIFETIME")["LLMSTREAM"], POLL_INTERVAL=0.02):
        yield


@pytest.fixture
def whole() -> Iterator[list[str]]:
    """The paths of the requests that went through Django."""
    paths: list[str] = []

    def started(scope: dict[str, Any], **_: Any) -> None:
        paths.append(scope["path"])

    request_started.connect(started)
    yield paths
    request_started.disconnect(started)
