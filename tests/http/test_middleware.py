"""A site whose middleware runs in one thread."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.utils.deprecation import MiddlewareMixin

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.http.handoff import StreamHandoff
from tests.support import types, until, within

from .client import JSON, Call, conversation_path, own, signed_in
from .streaming import answered, frames, start_of

pytestmark = pytest.mark.django_db(transaction=True)


class Watching(MiddlewareMixin):
    """Tells whether it was called on the event loop, and called the next one there."""

    def __call__(self, request: HttpRequest) -> Any:
        request.META.setdefault("watched", []).append(self.async_mode)
        return super().__call__(request)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response["X-Watched"] = ",".join("loop" if on_loop else "thread" for on_loop in request.META["watched"])
        return response


WATCHING = [f"{__name__}.Watching", *settings.MIDDLEWARE, f"{__name__}.Watching"]
ONE_THREAD = override_settings(MIDDLEWARE=[*WATCHING, "llmstream.middleware.one_thread"])


@pytest.mark.parametrize(
    ("configured", "called"), [(override_settings(MIDDLEWARE=WATCHING), "loop,loop"), (ONE_THREAD, "thread,thread")]
)
async def test_middleware_is_called_in_one_thread_and_streams_go_on(
    running: Engine, configured: Any, called: str
) -> None:
    client, _ = await run_db(signed_in)
    generation = await run_db(answered)
    with configured:
        call = Call(client, start_of(generation), app=StreamHandoff(ASGIHandler()))
        await within(call())
    assert call.headers["x-watched"] == called
    assert types(frames(call.body))[-1] == "message-end"


async def test_a_poll_ends_with_its_client(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    owner = await run_db(own)
    with ONE_THREAD:
        call = Call(
            client, conversation_path(owner, f"events/?wait=20&after={owner.last_event_id}"), accept=JSON["Accept"]
        )
        polling = asyncio.ensure_future(call())
        await until(lambda: [topic for topic in running.hub.topics.values() if topic.head is not None])
        call.gone.set()
        await within(polling)
        await until(lambda: not running.hub.topics)
    assert not call.sent
