"""Requests as the tests of the HTTP surface make them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIHandler
from django.test import AsyncClient, Client

from llmstream.models import Conversation
from tests.support import conversation, user

ROOT = "/llmstream/"
#: What a browser would have from Django's CSRF cookie.
TOKEN = "c" * 32
SSE = {"Accept": "text/event-stream"}
JSON = {"Accept": "application/json"}


def signed_in(name: str = "ann", *, csrf: bool = False) -> tuple[AsyncClient, User]:
    """Return a client with a session of the user, and the user."""
    client = AsyncClient(enforce_csrf_checks=csrf)
    client.force_login(owner := user(name))
    return client, owner


def browser(name: str = "") -> AsyncClient:
    """Return a client whose CSRF token is checked, with a session of the user if there is one."""
    client = signed_in(name, csrf=True)[0] if name else AsyncClient(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = TOKEN
    return client


def signed_in_sync(name: str = "ann", *, csrf: bool = False) -> Client:
    """Return a WSGI client with a session of the user."""
    client = Client(enforce_csrf_checks=csrf)
    client.force_login(user(name))
    return client


def own(name: str = "ann", **fields: Any) -> Conversation:
    """Create a conversation of the user."""
    return conversation(owner=user(name), **fields)


def conversation_path(found: Conversation, rest: str = "") -> str:
    """Return an address under a conversation."""
    return f"{ROOT}conversations/{found.public_id}/{rest}"


def generation_path(public_id: str, rest: str) -> str:
    """Return an address under a generation."""
    return f"{ROOT}generations/{public_id}/{rest}"


def cookies(client: AsyncClient | Client) -> bytes:
    """Return the Cookie header of a client."""
    return "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items()).encode()


class Call:
    """One request on an ASGI application, whose client takes what it gets and goes away as the test says.

    Without ``app`` the request is served by Django alone, without ``StreamHandoff`` around it.
    """

    def __init__(self, client: AsyncClient, path: str, body: bytes = b"", *, app: Any = None, **headers: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        #: Cleared, the client takes nothing more.
        self.taking = asyncio.Event()
        self.taking.set()
        #: Whether the application waits for the client to take something.
        self.blocked = False
        self._app = app or ASGIHandler()
        self._body = body
        self._read = False
        given = {
            "cookie": cookies(client) + b"; csrftoken=" + TOKEN.encode(),
            "x-csrftoken": TOKEN.encode(),
            "content-type": b"application/json",
            "host": b"testserver",
        }
        given |= {name.replace("_", "-"): value.encode() for name, value in headers.items()}
        self._scope: dict[str, Any] = {
            "type": "http",
            "method": "POST" if body else "GET",
            "path": path.partition("?")[0],
            "query_string": path.partition("?")[2].encode(),
            "headers": [(name.encode(), value) for name, value in given.items()],
        }

    async def __call__(self) -> None:
        """Make the request; returns when the application does."""
        await self._app(self._scope, self._receive, self._send)

    @property
    def status(self) -> int:
        """The status of the response that has begun."""
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response that has begun."""
        return {name.decode().lower(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        """What has come of the body."""
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def complete(self) -> bool:
        """Whether the response has ended as one should."""
        last = self.sent[-1] if self.sent else {"type": ""}
        return last["type"] == "http.response.body" and not last.get("more_body", False)

    async def _receive(self) -> dict[str, Any]:
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self._body}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Mapping[str, Any]) -> None:
        self.blocked = not self.taking.is_set()
        await self.taking.wait()
        self.sent.append(dict(message))
