"""Clients that come back to their streams with a ticket, and how it is seen whether that took a whole request."""

from __future__ import annotations

from http.cookies import SimpleCookie

from django.core.handlers.asgi import ASGIHandler
from django.test import AsyncClient

from llmstream.http.handoff import StreamHandoff
from llmstream.models import Conversation
from tests.http.client import Call
from tests.http.streaming import opening
from tests.support import until


def call(client: AsyncClient, path: str, **headers: str) -> Call:
    """A request as a site serves it."""
    return Call(client, path, b"", app=StreamHandoff(ASGIHandler()), **headers)


def start(found: Conversation) -> str:
    """The id before the first event."""
    return f"{found.public_id}.1.{0:012d}"


async def visited(client: AsyncClient, path: str, **headers: str) -> dict[str, str]:
    """Open a stream and leave it; return the cookies that came with it."""
    asked = call(client, path, **headers)
    async with opening(asked):
        await until(lambda: asked.body)
    return taken(asked)


def taken(asked: Call) -> dict[str, str]:
    """Return the cookies that came with a response."""
    return {name: morsel.value for name, morsel in SimpleCookie(asked.headers.get("set-cookie", "")).items()}


async def ticket_for(client: AsyncClient, path: str) -> str:
    """Open a stream and leave it; return the ticket that came with it."""
    return (await visited(client, path))["llmstream_ticket"]


def with_ticket(client: AsyncClient, ticket: str) -> AsyncClient:
    """Return the client with a ticket."""
    client.cookies["llmstream_ticket"] = ticket
    return client


async def came_back(client: AsyncClient, path: str, whole: list[str], **headers: str) -> tuple[Call, bool]:
    """Open a stream and leave it; return the call, and whether it was let in without a whole request."""
    before, asked = len(whole), call(client, path, **headers)
    async with opening(asked):
        await until(lambda: asked.body or asked.complete)
    return asked, len(whole) == before
