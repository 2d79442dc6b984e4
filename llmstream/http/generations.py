"""Commands on a generation."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase

from .. import commands
from ..access import Access
from ..engine import Engine
from ..generations.prompts import Sent
from ..permissions import get_policy
from .endpoint import Endpoint, json_response, read_body, serving_engine
from .messages import accepts_stream, answer, sent_with_urls
from .streams import check_streaming


class Stop(Endpoint):
    """``POST generations/<id>/stop/``."""

    async def post(self, request: HttpRequest, generation: str) -> HttpResponseBase:
        """End the generation as stopped; a repeat returns how it has ended."""
        return json_response(await self.work(_stop, generation))


class Retry(Endpoint):
    """``POST generations/<id>/retry/``."""

    async def post(self, request: HttpRequest, generation: str) -> HttpResponseBase:
        """Answer the same prompt again."""
        if streams := accepts_stream(request):
            check_streaming(request)
        outcome = await self.work(_retry, serving_engine(request), generation)
        return await answer(request, *outcome, stream=streams)


class Steer(Endpoint):
    """``POST generations/<id>/steer/``."""

    async def post(self, request: HttpRequest, generation: str) -> HttpResponseBase:
        """Hand a message to the generation at work."""
        return json_response(await self.work(_steer, generation))


class ToolCall(Endpoint):
    """``POST generations/<id>/tool-calls/<call>/``."""

    async def post(self, request: HttpRequest, generation: str, call: str) -> HttpResponseBase:
        """Approve or deny the call."""
        serving_engine(request)  # goes on with what is decided here
        return json_response(await self.work(_decide, generation, call))


def _stop(request: HttpRequest, generation: str) -> dict[str, Any]:
    return commands.generation_result(commands.stop(get_policy().identify(request), generation))


def _retry(request: HttpRequest, engine: Engine, generation: str) -> tuple[Sent, dict[str, Any], Access]:
    requester = get_policy().identify(request)
    key = request.headers.get("Idempotency-Key", "")
    sent = commands.retry(requester, engine, generation, read_body(request), client_id=key)
    return sent, {} if accepts_stream(request) else sent_with_urls(sent), Access.of(request, requester)


def _steer(request: HttpRequest, generation: str) -> dict[str, Any]:
    requester, key = get_policy().identify(request), request.headers.get("Idempotency-Key", "")
    return commands.generation_result(commands.steer(requester, generation, read_body(request), client_id=key))


def _decide(request: HttpRequest, generation: str, call: str) -> dict[str, Any]:
    requester = get_policy().identify(request)
    decision = read_body(request).text("decision", limit=10)
    return commands.generation_result(commands.decide(requester, generation, call, decision))
