"""The engine behind a synchronous view, and what such a view may tell it."""

from __future__ import annotations

from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from .engine import Engine, background_engine, get_engine


def serving_engine(request: HttpRequest) -> Engine:
    """Return the engine of the server's loop, or under WSGI the one that has a loop of its own."""
    return async_to_sync(_engine_here)() if isinstance(request, ASGIRequest) else background_engine()


def expect_prompt(request: HttpRequest) -> None:
    """Have the default model get ready, if generations run in this process; returns without waiting for it.

    For the page of a conversation that begins with its first prompt, so that no stream opens before.
    """
    engine = serving_engine(request)
    engine.loop.call_soon_threadsafe(engine.turns.get_ready)


async def _engine_here() -> Engine:
    return get_engine()
