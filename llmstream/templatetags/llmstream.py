"""Template tags: a conversation on a page, live or to read, with what the page needs for it.

They show what the site's policy lets ``request.user`` read and nothing otherwise. They need the ``request`` context
processor, and query the database, so an async view renders with ``sync_to_async``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template import Context
from django.urls import reverse

from .. import markup
from ..conf import get_settings
from ..exceptions import NotAuthenticated, NotFound, PermissionDenied
from ..feedbacks import with_feedback
from ..lookup import find_conversation
from ..models import Conversation, Membership
from ..permissions import ConversationPolicy, Requester, get_policy
from ..snapshot import state, user_object
from ..texts import widget_texts
from ..widget import branch_of, messages_on_show

register = template.Library()


@register.inclusion_tag("llmstream/assets.html", takes_context=True)
def llmstream_assets(context: Context) -> dict[str, Any]:
    """Link the chat's stylesheets and module, once a page, with the page's nonce and texts where it has such."""
    return {"nonce": _nonce(context), "markdown": markup.is_installed(), "texts": widget_texts()}


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
    return _chat(context, *seen, attributes) if seen else {"messages": None}


@register.inclusion_tag("llmstream/room.html", takes_context=True)
def llmstream_room(context: Context, conversation: Conversation | str, **attributes: Any) -> dict[str, Any]:
    """Show a conversation of several people: the chat, and around it who is here, who types, and what waits.

    Arguments are those of the chat. A prompt that comes while an answer is written waits, unless they say otherwise.
    """
    seen = _see(context, conversation)
    if seen is None:
        return {"messages": None}
    requester, found = seen
    members = found.memberships.select_related("user").order_by("pk")
    people = [*filter(None, [found.owner]), *(membership.user for membership in members)]
    return {
        **_chat(context, requester, found, {"busy": "queue", **attributes}),
        "people": [user_object(person) for person in people],
        "may_manage": get_policy().role(requester, found) == Membership.Role.OWNER,
        "nonce": _nonce(context),
    }


def _chat(
    context: Context, requester: Requester, conversation: Conversation, attributes: Mapping[str, Any]
) -> dict[str, Any]:
    own = {
        **_site_attributes(_request(context)),
        **_reader_attributes(get_policy(), requester, conversation),
        **{name.replace("_", "-"): value for name, value in attributes.items()},
    }
    page = reverse("llmstream:page", args=[conversation.public_id])
    token = context.get("csrf_token")
    return {**_transcript(requester, conversation), "attributes": own, "page": page, "csrf_token": token}


def _transcript(requester: Requester, conversation: Conversation) -> dict[str, Any]:
    current = with_feedback(state(conversation), requester, conversation)
    me = str(requester.user.pk) if requester.is_authenticated else ""
    messages = messages_on_show(current, me, markup.rendered(branch_of(current)))
    return {"state": current, "messages": messages, "truncated": current["truncated"]}


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
    if markup.is_installed():
        attributes["formulas"] = ""
    if origins := get_settings().image_origins:
        attributes["image-origins"] = " ".join(origins)
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
