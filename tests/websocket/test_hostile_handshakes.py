"""Handshakes with bytes that are no text: refused or accepted as any other, and never a failure."""

from __future__ import annotations

import logging

import pytest
from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.test import override_settings

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.routing import websocket_urlpatterns
from tests.http.client import cookies, signed_in
from tests.http.test_hostile_bytes import RAW
from tests.websocket.visitors import PATH, handshake

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = b"http://testserver"


@pytest.fixture
async def cookie(running: Engine) -> bytes:
    """The cookie of a signed-in page."""
    client, _ = await run_db(signed_in, "ann")
    return cookies(client)


@pytest.mark.parametrize("raw", RAW)
async def test_in_a_handshake(cookie: bytes, raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(ALLOWED_HOSTS=["testserver"]):
        application = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))
    with caplog.at_level(logging.ERROR):
        assert await handshake(application, PATH, ORIGIN, b"room=" + raw, cookie=cookie)
        assert await handshake(application, PATH, ORIGIN, cookie=cookie, user_agent=raw)
        # Accepted, to be told that nobody is signed in.
        assert await handshake(application, PATH, ORIGIN, cookie=b"sessionid=" + raw)
        assert not await handshake(application, PATH, raw, cookie=cookie)
    assert caplog.records == []
