"""Fixtures of the admin's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from django.test import AsyncClient

from llmstream.database import release_request_connections, run_db

from .staff import VIEW, staff


@pytest.fixture
async def asgi_client(transactional_db: None) -> AsyncIterator[AsyncClient]:
    """A client of the ASGI handler who may read everything and operate generations."""
    client = AsyncClient()
    await client.aforce_login(await run_db(staff, *VIEW, "view_content", "change_generation"))
    yield client
    # The admin's views are synchronous: their connection stays open in the thread that all of them share.
    await release_request_connections()
