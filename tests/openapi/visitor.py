"""Somebody who asks what Schemathesis has made up, of a whole site in this process."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import requests
import schemathesis
from django.contrib.auth.models import User
from django.core.files.base import ContentFile

from llmstream.models import Attachment, Conversation, Membership
from tests.asgi import application
from tests.http.client import TOKEN, cookies, signed_in
from tests.support import ask, conversation, user

BASE = "http://testserver/llmstream"


class Exchange:
    """One request on the site; a client that hangs up when a stream has begun."""

    def __init__(self, request: requests.PreparedRequest, cookie: bytes) -> None:
        body = request.body or b""
        self._body = body if isinstance(body, bytes) else body.encode()
        self._request = request
        self._cookie = cookie
        self._read = False
        self._gone = asyncio.Event()
        self._head: dict[str, Any] = {}
        self._pieces: list[bytes] = []

    async def response(self) -> httpx.Response:
        """Make the request; raises TimeoutError when the site hangs."""
        async with asyncio.timeout(30):
            await application(self._scope(), self._receive, self._send)
        found = httpx.Response(
            self._head["status"],
            headers=self._head["headers"],
            content=b"".join(self._pieces),
            request=httpx.Request(self._request.method or "", self._request.url or ""),
        )
        found.elapsed = timedelta()
        return found

    def _scope(self) -> dict[str, Any]:
        url = httpx.URL(self._request.url or "")
        given = {name.lower().encode(): _bytes(value) for name, value in self._request.headers.items()}
        given |= {b"cookie": self._cookie, b"x-csrftoken": TOKEN.encode(), b"host": b"testserver"}
        return {
            "type": "http",
            "method": self._request.method,
            "path": url.path,
            "query_string": url.query,
            "headers": [(name, value) for name, value in given.items()],
        }

    async def _receive(self) -> dict[str, Any]:
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self._body}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        self._pieces.append(message.get("body", b""))
        if self._pieces[-1]:
            self._gone.set()


class Visitor:
    """The owner of a conversation with a prompt, an answer, a member and a file; what was deleted is made anew."""

    def __init__(self) -> None:
        client, _ = signed_in("ann")
        self._cookie = cookies(client) + b"; csrftoken=" + TOKEN.encode()
        self._member = User.objects.get_or_create(username="dave")[0]

    def call(self, runner: asyncio.Runner, case: schemathesis.Case, accept: str, *, genuine: bool) -> httpx.Response:
        """Ask what the case says, of things that are there if ``genuine``."""
        if genuine:
            known = self._ids()
            case.path_parameters = {name: known[name] for name in case.path_parameters or {}}
        kwargs = case.as_transport_kwargs(base_url=BASE)
        names = ("method", "url", "headers", "files", "data", "json", "params")
        prepared = requests.Request(**{name: kwargs[name] for name in names if name in kwargs}).prepare()
        prepared.headers["Accept"] = accept
        return runner.run(Exchange(prepared, self._cookie).response())

    def _ids(self) -> dict[str, str]:
        found = Conversation.objects.filter(owner__username="ann", generations__isnull=False).order_by("-pk").first()
        if found is None:
            found = ask(conversation(owner=user("ann"))).conversation
        Membership.objects.get_or_create(conversation=found, user=self._member)
        file = found.attachments.order_by("-pk").first() or Attachment.objects.create(
            conversation=found,
            uploader=found.owner,
            name="a.txt",
            content_type="text/plain",
            size=1,
            file=ContentFile(b"x", "a.txt"),
        )
        generation = found.generations.latest("pk")
        return {
            "conversation": found.public_id,
            "generation": generation.public_id,
            "attachment": file.public_id,
            "user": str(self._member.pk),
            "call": "call-1",
        }


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")
