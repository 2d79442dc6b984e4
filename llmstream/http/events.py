"""Reading the log over HTTP: SSE of a conversation or of one generation, and a long poll where nothing streams."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from math import isnan
from time import monotonic
from typing import Any

import orjson
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from ..access import Access
from ..conf import get_settings
from ..database import run_db
from ..engine import Engine, get_engine
from ..events import READY, EventId, WireEvent, new_public_id
from ..exceptions import InvalidRequest, LLMStreamError
from ..hub import Topic
from ..log.reading import Page, read_page
from ..lookup import find_conversation, find_generation
from ..permissions import get_policy
from ..readers import Start, restart, resume
from . import sse
from .endpoint import Endpoint, check_reader, json_response
from .places import Places
from .streams import check_streaming, stream_error_response, stream_response
from .tickets import Ticket, issue


class EventStreamEndpoint(Endpoint):
    """An endpoint that an EventSource reads: passing failures are answered as a stream, so that it comes back."""

    def failure(self, request: HttpRequest, error: LLMStreamError) -> HttpResponse:
        """Answer a passing failure with 200, ``retry`` and an error event; others as usual."""
        if error.temporary and not wants_json(request):
            return stream_error_response(error)
        return super().failure(request, error)


class Process:
    """What tells this process from the site's others; it says nothing else."""

    def __init__(self, engine: Engine) -> None:
        self.id = new_public_id()


class ConversationEvents(EventStreamEndpoint):
    """``GET conversations/<id>/events/``: SSE, or a long poll for ``Accept: application/json``."""

    async def get(self, request: HttpRequest, conversation: str) -> HttpResponseBase:
        """Stream or poll what follows the client's last event id."""
        start, access = await self.work(_resume_conversation, conversation)
        response = await _answer(request, start, access)
        if start is not None and not wants_json(request):
            issue(request, response, Ticket(access, start.conversation))
        return response


class GenerationEvents(EventStreamEndpoint):
    """``GET generations/<id>/events/``: the same of one answer; 204 for a client that is past its end."""

    async def get(self, request: HttpRequest, generation: str) -> HttpResponseBase:
        """Stream or poll what follows the client's last event id."""
        return await _answer(request, *await self.work(_resume_generation, generation))


async def _answer(request: HttpRequest, start: Start | None, access: Access) -> HttpResponseBase:
    if not wants_json(request):
        check_streaming(request)
    if start is None:
        return HttpResponse(status=204)
    if wants_json(request):
        return await _poll(request, start, access)
    return await stream_response(request, greeted(request, start), access)


async def _poll(request: HttpRequest, start: Start, access: Access) -> HttpResponse:
    wait = _wait(request)
    if start.preface:
        return _preface_response(start)
    page = await _next_page(start, access, wait if isinstance(request, ASGIRequest) else 0.0)
    if start.misses(page):
        return _preface_response(await run_db(restart, start.conversation, start.generation, "expired"))
    rows = [row for row in page.rows if start.generation in (None, row.generation)]
    events = [{"id": _event_id(start, row.seq), **orjson.loads(row.data)} for row in rows]
    return _events_response(start, events, page)


def greeted(request: HttpRequest, start: Start) -> Start:
    """Begin with ``ready`` where the client asks for it."""
    if not request.GET.get("ready"):
        return start
    heartbeat, process = int(get_settings().heartbeat * 1_000), get_engine().part(Process).id
    ready: WireEvent = {"type": READY, "process": process, "heartbeat_ms": heartbeat}
    return replace(start, preface=((ready, None), *start.preface))


def wants_json(request: HttpRequest) -> bool:
    """Whether a client polls."""
    accept = request.headers.get("Accept", "")
    return "application/json" in accept and sse.CONTENT_TYPE not in accept


def last_event_id(request: HttpRequest) -> str | None:
    """Return the position that a client names: in the header, which an EventSource sends by itself, or the query."""
    query = request.GET.get("last_event_id") or request.GET.get("after")
    return request.headers.get("Last-Event-ID") or query or None


def _resume_conversation(request: HttpRequest, public_id: str) -> tuple[Start | None, Access]:
    check_reader(request)
    requester = get_policy().identify(request)
    conversation = find_conversation(requester, public_id)
    return resume(conversation, last_event_id(request)), Access.of(request, requester)


def _resume_generation(request: HttpRequest, public_id: str) -> tuple[Start | None, Access]:
    check_reader(request)
    requester = get_policy().identify(request)
    generation = find_generation(requester, public_id)
    start = resume(generation.conversation, last_event_id(request), generation)
    return start, Access.of(request, requester)


def _wait(request: HttpRequest) -> float:
    try:
        wait = float(request.GET.get("wait") or 0)
    except ValueError:
        raise InvalidRequest("wait must be a number of seconds.") from None
    return 0.0 if isnan(wait) else min(max(wait, 0.0), get_settings().long_poll_max)


async def _next_page(start: Start, access: Access, wait: float) -> Page:
    """Return the next stored events, waiting for the first of them; raises Overloaded or TooManyStreams."""
    page = await _page(start)
    if page.rows or not wait:
        return page
    engine = get_engine()
    hub = engine.hub
    with engine.part(Places).place(access, poll=True):
        topic = hub.follow(start.conversation, start.public_id, start.epoch)
        engine.wake()
        try:
            await _news(topic, start.seq, monotonic() + wait)
        finally:
            hub.unfollow(topic)
    return await _page(start)


async def _news(topic: Topic, seq: int, deadline: float) -> None:
    """Return when the topic is past ``seq``, or at the deadline."""
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline - monotonic()):
            while not topic.gone and (topic.head is None or topic.head <= seq):
                await topic.wait()


async def _page(start: Start) -> Page:
    return await run_db(read_page, start.conversation, start.seq, max_bytes=get_settings().page_bytes)


def _event_id(start: Start, seq: int) -> str:
    return str(EventId(start.public_id, start.epoch, seq))


def _preface_response(start: Start) -> HttpResponse:
    events = [event if event_id is None else {"id": event_id, **event} for event, event_id in start.preface]
    return _events_response(start, events, Page((), start.seq, False))


def _events_response(start: Start, events: list[dict[str, Any]], page: Page) -> HttpResponse:
    return json_response({"events": events, "last_event_id": _event_id(start, page.seq), "more": page.more})
