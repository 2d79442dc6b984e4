"""What people think of answers."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from ..feedbacks import feedback_of, give, withdraw
from ..lookup import find_conversation
from ..permissions import get_policy
from .endpoint import Endpoint, json_response, read_body


class FeedbackList(Endpoint):
    """``GET conversations/<id>/feedback/``."""

    async def get(self, request: HttpRequest, conversation: str) -> HttpResponse:
        """Return what the requester thinks of the conversation's answers, by their ids."""
        return json_response(await self.work(_list, conversation))


class FeedbackDetail(Endpoint):
    """``POST`` and ``DELETE messages/<id>/feedback/``."""

    async def post(self, request: HttpRequest, message: str) -> HttpResponse:
        """Rate an answer, or change that."""
        return json_response(await self.work(_give, message))

    async def delete(self, request: HttpRequest, message: str) -> HttpResponse:
        """Withdraw it."""
        await self.work(_withdraw, message)
        return HttpResponse(status=204)


def _list(request: HttpRequest, conversation: str) -> dict[str, Any]:
    requester = get_policy().identify(request)
    return {"feedback": feedback_of(requester, find_conversation(requester, conversation))}


def _give(request: HttpRequest, message: str) -> dict[str, Any]:
    return give(get_policy().identify(request), message, read_body(request))


def _withdraw(request: HttpRequest, message: str) -> None:
    withdraw(get_policy().identify(request), message)
