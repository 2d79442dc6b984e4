"""Tickets: what lets a client come back to a stream without a whole request.

A ticket is a cookie that is given with a stream to somebody whom the session signs in, as TLS gives a session ticket
with a handshake (RFC 8446, section 2.2). It says who they were, signed for one host, one address and one session, so
that it is worth nothing to anybody else. It permits nothing by itself: what it says is looked up.
"""

from __future__ import annotations

from datetime import timedelta
from math import ceil
from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core import signing
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.encoding import escape_uri_path

from ..access import Access
from ..conf import get_settings
from .handoff import TICKET


class Ticket(NamedTuple):
    """Who comes back, and to which conversation, by primary key."""

    access: Access
    conversation: int


def issue(request: HttpRequest, response: HttpResponseBase, ticket: Ticket) -> None:
    """Give a ticket along with a stream, unless the site gives none or the sign-in does not rest on the session."""
    access, age = ticket.access, get_settings().ticket_age
    if not age or not access.session_key:
        return
    said = [
        ticket.conversation,
        None if access.user is None else str(access.user),
        access.anonymous_id,
        access.fingerprint,
    ]
    response.set_cookie(
        TICKET,
        signing.dumps(said, salt=_salt(request, access.session_key)),
        max_age=ceil(age),
        path=escape_uri_path(request.path),
        secure=bool(django_settings.SESSION_COOKIE_SECURE),
        httponly=True,
        samesite="Strict",
    )


def read(request: HttpRequest) -> Ticket | None:
    """Return the ticket that a request carries; None unless it is genuine, of this session, and young enough."""
    age, session_key = get_settings().ticket_age, request.COOKIES.get(django_settings.SESSION_COOKIE_NAME)
    if not age or not session_key:
        return None
    try:
        salt = _salt(request, session_key)
        said = signing.loads(request.COOKIES[TICKET], salt=salt, max_age=timedelta(seconds=age))
        conversation, user, anonymous_id, fingerprint = said
        return Ticket(Access(_user_key(user), anonymous_id, session_key, fingerprint), conversation)
    except (KeyError, signing.BadSignature, ValidationError):
        return None


def _salt(request: HttpRequest, session_key: str) -> str:
    return f"llmstream.ticket {request.get_host()} {request.path} {session_key}"


def _user_key(text: str | None) -> Any:
    return None if text is None else get_user_model()._meta.pk.to_python(text)
