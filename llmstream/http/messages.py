"""A prompt comes in over HTTP, and its answer streams in the same response when the client asks for that."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse

from .. import commands
from ..access import Access
from ..engine import Engine
from ..generations.prompts import Sent
from ..permissions import get_policy
from ..readers import follow_from
from . import sse
from .endpoint import Endpoint, json_response, read_body, serving_engine
from .streams import check_streaming, stream_response


class Messages(Endpoint):
    """``POST conversations/<id>/messages/``."""

    async def post(self, request: HttpRequest, conversation: str) -> HttpResponseBase:
        """Add a message and start its answer."""
        if streams := accepts_stream(request):
            check_streaming(request)
        outcome = await self.work(_send, serving_engine(request), conversation)
        return await answer(request, *outcome, stream=streams)


def accepts_stream(request: HttpRequest) -> bool:
    """Whether the client asks for the answer in this response."""
    return sse.CONTENT_TYPE in request.headers.get("Accept", "")


async def answer(
    request: HttpRequest, sent: Sent, body: dict[str, Any], access: Access, *, stream: bool
) -> HttpResponseBase:
    """Answer with a generation: as a stream from its first event, or with its ids and addresses."""
    if stream:
        start = follow_from(sent.conversation, sent.before.seq, sent.generation, sent.tail)
        return await stream_response(request, start, access)
    return json_response(body, status=201)


def _send(request: HttpRequest, engine: Engine, public_id: str) -> tuple[Sent, dict[str, Any], Access]:
    requester = get_policy().identify(request)
    key = request.headers.get("Idempotency-Key", "")
    sent = commands.send(requester, engine, public_id, read_body(request), client_id=key)
    return sent, {} if accepts_stream(request) else sent_with_urls(sent), Access.of(request, requester)


def sent_with_urls(sent: Sent) -> dict[str, Any]:
    """Return a prompt's outcome and where to go on with it."""
    events = reverse("llmstream:generation-events", args=[sent.generation.public_id])
    urls = {
        "events": f"{events}?{urlencode({'last_event_id': str(sent.before)})}",
        "stop": reverse("llmstream:generation-stop", args=[sent.generation.public_id]),
        "retry": reverse("llmstream:generation-retry", args=[sent.generation.public_id]),
    }
    return {**commands.sent_object(sent), "urls": urls}
