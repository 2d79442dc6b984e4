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
from tests.http.client import cookies, signed_in
from tests.http.raw import exchange, page_headers
from tests.support import ask, conversation, user

BASE = "http://testserver/llmstream"


class Visitor:
    """The owner of a conversation with a prompt, an answer, a member and a file; what was deleted is made anew."""

    def __init__(self) -> None:
        client, _ = signed_in("ann")
        self._page = page_headers(cookies(client))
        self._member = User.objects.get_or_create(username="dave")[0]

    def call(
        self, runner: asyncio.Runner, case: schemathesis.Case[Any], accept: str, *, genuine: bool
    ) -> httpx.Response:
        """Ask what the case says, of things that are there if ``genuine``."""
        if genuine:
            known = self._ids()
            case.path_parameters = {name: known[name] for name in case.path_parameters or {}}
        kwargs = case.as_transport_kwargs(base_url=BASE)
        names = ("method", "url", "headers", "files", "data", "json", "params")
        prepared = requests.Request(**{name: kwargs[name] for name in names if name in kwargs}).prepare()
        prepared.headers["Accept"] = accept
        return runner.run(self._exchange(prepared))

    async def _exchange(self, request: requests.PreparedRequest) -> httpx.Response:
        url = httpx.URL(request.url or "")
        own = {name.lower().encode(): _bytes(value) for name, value in request.headers.items()}
        page = {name: value for name, value in self._page.items() if name != b"content-type"}
        given: Any = request.body or b""
        body = _bytes(given)
        found = await exchange(request.method or "", url.path, url.query, {**own, **page}, body)
        response = httpx.Response(
            found.status,
            headers=found.headers,
            content=found.body,
            request=httpx.Request(request.method or "", url),
        )
        response.elapsed = timedelta()
        return response

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
            "message": generation.message.public_id,
            "user": str(self._member.pk),
            "call": "call-1",
        }


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")
