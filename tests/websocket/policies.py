"""Policies that sites might have."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest

from llmstream.exceptions import NotAuthenticated, PermissionDenied
from llmstream.models import Conversation
from llmstream.permissions import ConversationPolicy, Requester


class BearerPolicy(ConversationPolicy):
    """Whoever names a user in a header is that user."""

    def identify(self, request: HttpRequest) -> Requester:
        """Return the user of the Authorization header, or of the ``token`` in the query."""
        name = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.GET.get("token", "")
        user: Any = get_user_model().objects.filter(username=name).first()
        if user is None:
            raise NotAuthenticated
        return Requester(user)


class ClosedPolicy(ConversationPolicy):
    """Nobody may come in."""

    def identify(self, request: HttpRequest) -> Requester:
        """Refuse."""
        raise PermissionDenied


class DjangoClosedPolicy(ConversationPolicy):
    """Nobody may come in, in Django's words."""

    def identify(self, request: HttpRequest) -> Requester:
        """Refuse."""
        raise DjangoPermissionDenied


class StaffPolicy(ConversationPolicy):
    """Staff sees everything."""

    def visible(self, requester: Requester) -> QuerySet[Conversation]:
        """Return everything to staff."""
        if getattr(requester.user, "is_staff", False):
            return Conversation.objects.all()
        return super().visible(requester)


class TitlePolicy(ConversationPolicy):
    """Conversations whose title is public are everybody's to read."""

    def can_read(self, requester: Requester, conversation: Conversation) -> bool:
        """Whether the title says so, or the conversation is theirs."""
        return conversation.title == "public" or super().can_read(requester, conversation)


class BrittlePolicy(ConversationPolicy):
    """Fails for one user."""

    def can_read(self, requester: Requester, conversation: Conversation) -> bool:
        """Break, for that user."""
        if requester.user.username == "user1":
            raise RuntimeError
        return super().can_read(requester, conversation)
