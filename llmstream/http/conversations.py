"""Conversations: list, create, read, rename, delete."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from .. import commands
from ..conf import get_settings
from ..feedbacks import with_feedback
from ..fields import Fields
from ..generations.endings import delete_conversation
from ..generations.prompts import model_key
from ..ledger import usage_object, usage_of
from ..lookup import find_conversation
from ..models import Conversation
from ..permissions import Requester, get_policy
from ..snapshot import conversation_object, state
from .endpoint import Endpoint, json_response, read_body


class ConversationList(Endpoint):
    """``GET`` and ``POST conversations/``."""

    async def get(self, request: HttpRequest) -> HttpResponse:
        """List the requester's conversations, newest first, a page at a time."""
        return json_response(await self.work(_list))

    async def post(self, request: HttpRequest) -> HttpResponse:
        """Create a conversation."""
        return json_response(await self.work(_create), status=201)


class ConversationDetail(Endpoint):
    """``GET``, ``PATCH`` and ``DELETE conversations/<id>/``."""

    async def get(self, request: HttpRequest, conversation: str) -> HttpResponse:
        """Return the state, with the event id that it is as of."""
        return json_response(await self.work(_read, conversation))

    async def patch(self, request: HttpRequest, conversation: str) -> HttpResponse:
        """Rename; choose the model of further prompts, or the branch on show."""
        return json_response(await self.work(_change, conversation))

    async def delete(self, request: HttpRequest, conversation: str) -> HttpResponse:
        """Stop what runs and delete everything."""
        await self.work(_delete, conversation)
        return HttpResponse(status=204)


def conversation_urls(conversation: Conversation) -> dict[str, str]:
    """Return where to go on with a conversation."""
    names = {"self": "conversation", "messages": "messages", "events": "conversation-events"}
    return {key: reverse(f"llmstream:{name}", args=[conversation.public_id]) for key, name in names.items()}


def _full(requester: Requester, conversation: Conversation) -> dict[str, Any]:
    usage = usage_object(usage_of(conversation))
    current = with_feedback(state(conversation), requester, conversation)
    return {**current, "usage": usage, "urls": conversation_urls(conversation)}


def _list(request: HttpRequest) -> dict[str, Any]:
    requester = get_policy().identify(request)
    found = get_policy().visible(requester).order_by("-updated_at", "-pk")
    if before := request.GET.get("before"):
        last = find_conversation(requester, before)
        found = found.filter(Q(updated_at__lt=last.updated_at) | Q(updated_at=last.updated_at, pk__lt=last.pk))
    size = get_settings().list_page
    page = list(found[: size + 1])
    more = f"{reverse('llmstream:conversations')}?before={page[size - 1].public_id}" if len(page) > size else None
    return {"conversations": [_summary(conversation) for conversation in page[:size]], "next": more}


def _summary(conversation: Conversation) -> dict[str, Any]:
    last_event_id = str(conversation.last_event_id)
    urls = conversation_urls(conversation)
    return {**conversation_object(conversation), "last_event_id": last_event_id, "urls": urls}


def _create(request: HttpRequest) -> dict[str, Any]:
    requester = get_policy().identify(request)
    get_policy().check_create(requester)
    title, model = _fields(read_body(request))
    conversation = Conversation.objects.create(
        title=title, model=model, owner=requester.user_or_none, anonymous_id=requester.anonymous_id
    )
    return _full(requester, conversation)


def _read(request: HttpRequest, conversation: str) -> dict[str, Any]:
    requester = get_policy().identify(request)
    return _full(requester, find_conversation(requester, conversation))


def _change(request: HttpRequest, public_id: str) -> dict[str, Any]:
    requester, body = get_policy().identify(request), read_body(request)
    given: dict[str, str] = {}
    if "title" in body or "model" in body:
        conversation = _managed(requester, public_id)
        title, model = _fields(body)
        given = {name: value for name, value in (("title", title), ("model", model)) if name in body}
    if "leaf" in body:
        commands.choose(requester, public_id, body)
    if given:
        Conversation.objects.filter(pk=conversation.pk).update(**given)
    return _full(requester, find_conversation(requester, public_id))


def _delete(request: HttpRequest, public_id: str) -> None:
    delete_conversation(_managed(get_policy().identify(request), public_id))


def _managed(requester: Requester, public_id: str) -> Conversation:
    conversation = find_conversation(requester, public_id)
    get_policy().check_manage(requester, conversation)
    return conversation


def _fields(body: Fields) -> tuple[str, str]:
    title = body.text("title", limit=get_settings().max_title_chars)
    model = body.text("model", limit=100)
    if model:
        model_key(model)
    return title, model
