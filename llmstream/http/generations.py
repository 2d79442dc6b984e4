"""Commands on a generation."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase

from ..engine import Engine
from ..generations.endings import stop
from ..generations.prompts import Sent, retry
from ..models import Generation
from ..snapshot import generation_object
from .endpoint import Endpoint, json_response, policy
from .lookup import find_generation
from .messages import accepts_stream, answer, begin, sent_object, serving_engine
from .streams import check_streaming


class Stop(Endpoint):
    """``POST generations/<id>/stop/``."""

    async def post(self, request: HttpRequest, generation: str) -> HttpResponseBase:
        """End the generation as stopped; a repeat returns how it has ended."""
        return json_response({"generation": await self.work(_stop, generation)})


class Retry(Endpoint):
    """``POST generations/<id>/retry/``."""

    async def post(self, request: HttpRequest, generation: str) -> HttpResponseBase:
        """Answer the same prompt again."""
        if streams := accepts_stream(request):
            check_streaming(request)
        sent, body = await self.work(_retry, serving_engine(request), generation)
        return await answer(request, sent, body, stream=streams)


def _writable(request: HttpRequest, public_id: str) -> Generation:
    requester = policy().identify(request)
    generation = find_generation(requester, public_id)
    policy().check_write(requester, generation.conversation)
    return generation


def _stop(request: HttpRequest, public_id: str) -> dict[str, Any]:
    ended = stop(_writable(request, public_id).pk)
    return generation_object(ended, message=ended.message.public_id)


def _retry(request: HttpRequest, engine: Engine, public_id: str) -> tuple[Sent, dict[str, Any]]:
    sent = retry(_writable(request, public_id).pk)
    begin(engine, sent)
    return sent, {} if accepts_stream(request) else sent_object(sent)
