"""A prompt comes in over HTTP, and its answer streams in the same response when the client asks for that."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse

from ..conf import BUSY_POLICIES, get_settings
from ..engine import Engine, background_engine, get_engine
from ..exceptions import InvalidRequest
from ..generations.prompts import Prompt, Sent, send
from ..readers import follow_from
from ..snapshot import generation_object, message_object
from . import sse
from .endpoint import Body, Endpoint, json_response, policy
from .lookup import find_conversation
from .streams import check_streaming, stream_response


class Messages(Endpoint):
    """``POST conversations/<id>/messages/``."""

    async def post(self, request: HttpRequest, conversation: str) -> HttpResponseBase:
        """Add a message and start its answer."""
        if streams := accepts_stream(request):
            check_streaming(request)
        sent, body = await self.work(_send, serving_engine(request), conversation)
        return await answer(request, sent, body, stream=streams)


def accepts_stream(request: HttpRequest) -> bool:
    """Whether the client asks for the answer in this response."""
    return sse.CONTENT_TYPE in request.headers.get("Accept", "")


def serving_engine(request: HttpRequest) -> Engine:
    """Return the engine that runs what this request starts; WSGI, without a loop that lives on, gets one of its own."""
    return get_engine() if isinstance(request, ASGIRequest) else background_engine()


def begin(engine: Engine, sent: Sent) -> None:
    """Have a new generation run. Called where it was committed: a client that hangs up now must not orphan it."""
    if sent.claim:
        engine.loop.call_soon_threadsafe(engine.start, sent.claim)
    elif not sent.repeated:
        engine.loop.call_soon_threadsafe(engine.await_turn, sent.conversation.pk)


async def answer(request: HttpRequest, sent: Sent, body: dict[str, Any], *, stream: bool) -> HttpResponseBase:
    """Answer with a generation: as a stream from its first event, or with its ids and addresses."""
    if stream:
        return await stream_response(request, follow_from(sent.conversation, sent.before.seq, sent.generation))
    return json_response(body, status=201)


def _send(request: HttpRequest, engine: Engine, public_id: str) -> tuple[Sent, dict[str, Any]]:
    requester = policy().identify(request)
    conversation = find_conversation(requester, public_id)
    policy().check_write(requester, conversation)
    sent = send(conversation.pk, _prompt(request, requester.user_or_none))
    begin(engine, sent)
    return sent, {} if accepts_stream(request) else sent_object(sent)


def _prompt(request: HttpRequest, author: Any) -> Prompt:
    body = Body.of(request)
    content = body.text("content", limit=get_settings().max_prompt_chars)
    if not content.strip():
        raise InvalidRequest("content must not be empty.")
    client_id = body.text("client_id", limit=128) or request.headers.get("Idempotency-Key", "")
    if len(client_id) > 128 or "\0" in client_id:
        raise InvalidRequest("Idempotency-Key may have at most 128 characters.")
    return Prompt(
        content=content,
        client_id=client_id,
        author=author,
        model=body.text("model", limit=100),
        busy=body.text("busy", limit=20, choices=BUSY_POLICIES),
        parent=body.text("parent", limit=22),
    )


def sent_object(sent: Sent) -> dict[str, Any]:
    """Return what clients see of a prompt's outcome. May read the database."""
    events = reverse("llmstream:generation-events", args=[sent.generation.public_id])
    parent = sent.message.parent
    return {
        "message": message_object(sent.message, parent=parent.public_id if parent else None, generation=None),
        "generation": generation_object(sent.generation, message=sent.answer.public_id),
        "last_event_id": str(sent.before),
        "urls": {
            "events": f"{events}?{urlencode({'last_event_id': str(sent.before)})}",
            "stop": reverse("llmstream:generation-stop", args=[sent.generation.public_id]),
            "retry": reverse("llmstream:generation-retry", args=[sent.generation.public_id]),
        },
    }
