"""Template tags: a conversation on a page, live or to read, with what the page needs for it.

They show what the site's policy lets ``request.user`` read and nothing otherwise. They need the ``request`` context
processor, and query the database, so an async view renders with ``sync_to_async``.
"""

from __future__ import annotations

from typing import Any

from django import template
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template import Context
from django.urls import reverse

from ..conf import get_settings
from ..exceptions import NotAuthenticated, NotFound, PermissionDenied
from ..feedbacks import with_feedback
from ..lookup import find_conversation
from ..models import Conversation
from ..permissions import ConversationPolicy, Requester, get_policy
from ..snapshot import state
from ..texts import widget_texts
from ..widget import messages_on_show

register = template.Library()


@register.inclusion_tag("llmstream/assets.html", takes_context=True)
def llmstream_assets(context: Context) -> dict[str, Any]:
    """Link the chat's stylesheet and module, once a page, with the page's nonce and texts where it has such."""
    return {"nonce": _nonce(context), "texts": widget_texts()}


@register.inclusion_tag("llmstream/messages.html", takes_context=True)
def llmstream_messages(context: Context, conversation: Conversation | str) -> dict[str, Any]:
    """Show the chosen branch of a conversation, given itself or by its public id, as HTML to read."""
    seen = _see(context, conversation)
    return _transcript(*seen) if seen else {"messages": None}


@register.inclusion_tag("llmstream/chat.html", takes_context=True)
def llmstream_chat(context: Context, conversation: Conversation | str, **attributes: Any) -> dict[str, Any]:
    """Show a conversation as ``<llm-chat>``, with the transcript and the state of one moment inside it.

    Further arguments become attributes of the element, with hyphens for underscores.
    """
    seen = _see(context, conversation)
    if seen is None:
        return {"messages": None}
    requester, found = seen
    request = _request(context)
    transcript = _transcript(requester, found)
    own = {**_site_attributes(request), **_reader_attributes(get_policy(), requester, found)}
    given = {name.replace("_", "-"): value for name, value in attributes.items()}
    return {**transcript, "attributes": {**own, **given}}


def _transcript(requester: Requester, conversation: Conversation) -> dict[str, Any]:
    current = with_feedback(state(conversation), requester, conversation)
    me = str(requester.user.pk) if requester.is_authenticated else ""
    return {"state": current, "messages": messages_on_show(current, me), "truncated": current["truncated"]}


def _see(context: Context, conversation: Conversation | str) -> tuple[Requester, Conversation] | None:
    """Return who looks and the conversation as it stands, or None for somebody who may not read it."""
    public_id = conversation.public_id if isinstance(conversation, Conversation) else str(conversation)
    try:
        requester = get_policy().identify(_request(context))
        return requester, find_conversation(requester, public_id)
    except (NotAuthenticated, NotFound):
        return None


def _site_attributes(request: HttpRequest) -> dict[str, str]:
    attributes = {"api": reverse("llmstream:conversations").removesuffix("conversations/")}
    if kinds := get_settings().attachable:
        attributes["attachments"] = ",".join(kinds)
        attributes["max-attachment-bytes"] = str(get_settings().max_attachment_bytes)
        attributes["max-attachments"] = str(get_settings().max_attachments)
    if not apps.is_installed("channels"):
        attributes["transport"] = "sse"
    # Makes sure that there is a cookie to take it from, too.
    token = get_token(request)
    if settings.CSRF_USE_SESSIONS or settings.CSRF_COOKIE_HTTPONLY or settings.CSRF_COOKIE_NAME != "csrftoken":
        attributes["csrf-token"] = token
    return attributes


def _reader_attributes(policy: ConversationPolicy, requester: Requester, conversation: Conversation) -> dict[str, str]:
    attributes = {"conversation": conversation.public_id, "access": str(policy.role(requester, conversation))}
    if requester.is_authenticated:
        attributes["user"] = str(requester.user.pk)
    try:
        policy.check_decide(requester, conversation)
    except PermissionDenied:
        attributes["approvals"] = "off"
    return attributes


def _request(context: Context) -> HttpRequest:
    request = context.get("request")
    if not isinstance(request, HttpRequest):
        raise ImproperlyConfigured(
            "The tags of llmstream need the context processor django.template.context_processors.request."
        )
    return request


def _nonce(context: Context) -> str:
    """Return the nonce of django-csp, or of Django 6 with its context processor ``csp``; both are made when asked."""
    request = context.get("request")
    nonce = getattr(request, "csp_nonce", None)
    # Which has no truth before it is made.
    return str(context.get("csp_nonce", "") if nonce is None else nonce)
