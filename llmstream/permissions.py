"""Who may do what: one policy class, replaceable by the ``POLICY`` setting.

A policy's methods are synchronous and may use the ORM; they run on the database executor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from .conf import get_settings, instance_of
from .events import new_public_id
from .exceptions import NotAuthenticated, PermissionDenied
from .models import Conversation, Membership

#: Where the session keeps the random id of a visitor who is not signed in.
ANONYMOUS_SESSION_KEY = "llmstream_anonymous_id"


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: a signed-in user, or an anonymous visitor known by a random id in the session."""

    user: Any
    anonymous_id: str = ""

    @property
    def is_authenticated(self) -> bool:
        """Whether a user is signed in."""
        return bool(self.user.is_authenticated)

    @property
    def user_or_none(self) -> Any:
        """The user for a foreign key."""
        return self.user if self.user.is_authenticated else None


class ConversationPolicy:
    """Owners do everything with their conversations, members what their role allows, everybody else sees nothing."""

    def identify(self, request: HttpRequest) -> Requester:
        """Return who asks; raises NotAuthenticated for a visitor when anonymous conversations are off.

        Gives an anonymous visitor an id on the first request that is allowed to write.
        """
        user = getattr(request, "user", AnonymousUser())
        if user.is_authenticated:
            return Requester(user)
        if not get_settings().allow_anonymous or not hasattr(request, "session"):
            raise NotAuthenticated
        if not (anonymous_id := request.session.get(ANONYMOUS_SESSION_KEY, "")) and request.method == "POST":
            anonymous_id = request.session[ANONYMOUS_SESSION_KEY] = new_public_id()
        return Requester(user, anonymous_id)

    def needs_csrf(self, request: HttpRequest) -> bool:
        """Whether a changing request must carry a CSRF token; false only for sign-in that no browser adds by itself."""
        return True

    def visible(self, requester: Requester) -> QuerySet[Conversation]:
        """Return the conversations that the requester may read; all others look as if they did not exist."""
        if requester.is_authenticated:
            mine = Q(owner=requester.user) | Q(pk__in=self._memberships(requester).values("conversation"))
            return Conversation.objects.filter(mine)
        if requester.anonymous_id:
            return Conversation.objects.filter(anonymous_id=requester.anonymous_id)
        return Conversation.objects.none()

    def can_read(self, requester: Requester, conversation: Conversation) -> bool:
        """Whether a conversation is among the visible ones."""
        if type(self).visible is ConversationPolicy.visible and self._owns(requester, conversation):
            return True
        return self.visible(requester).filter(pk=conversation.pk).exists()

    def readable(self, asked: Mapping[Requester, Collection[int]]) -> dict[Requester, set[int]]:
        """Return which of these conversations, by primary key, each requester may read; ``can_read`` for many."""
        if type(self).can_read is not ConversationPolicy.can_read:
            return {requester: self._readable_singly(requester, pks) for requester, pks in asked.items()}
        if type(self).visible is not ConversationPolicy.visible:
            return {
                requester: set(self.visible(requester).filter(pk__in=pks).values_list("pk", flat=True))
                for requester, pks in asked.items()
            }
        found = Conversation.objects.in_bulk({pk for pks in asked.values() for pk in pks})
        users = {requester.user.pk for requester in asked if requester.is_authenticated}
        memberships = Membership.objects.filter(user__in=users, conversation__in=found)
        members = set(memberships.values_list("user", "conversation"))
        return {
            requester: {
                pk
                for pk in pks
                if pk in found and (self._owns(requester, found[pk]) or (requester.user.pk, pk) in members)
            }
            for requester, pks in asked.items()
        }

    def _readable_singly(self, requester: Requester, pks: Collection[int]) -> set[int]:
        return {found.pk for found in Conversation.objects.filter(pk__in=pks) if self.can_read(requester, found)}

    def audience(self, conversation: Conversation) -> Iterable[Any]:
        """Return the users who are notified of what happens in a conversation, as far as they may read it."""
        owner = [conversation.owner] if conversation.owner else []
        return [*owner, *conversation.members.all()]

    def check_create(self, requester: Requester) -> None:
        """Raise PermissionDenied unless the requester may start conversations."""

    def check_write(self, requester: Requester, conversation: Conversation) -> None:
        """Raise PermissionDenied unless the requester may send, stop and retry in a conversation visible to them."""
        self._check_role(requester, conversation, {Membership.Role.WRITER, Membership.Role.OWNER})

    def check_decide(self, requester: Requester, conversation: Conversation) -> None:
        """Raise PermissionDenied unless the requester may approve and deny tool calls: by default whoever may write."""
        self.check_write(requester, conversation)

    def check_feedback(self, requester: Requester, conversation: Conversation) -> None:
        """Raise PermissionDenied unless the requester may rate the answers that they may read: by default everybody."""

    def check_manage(self, requester: Requester, conversation: Conversation) -> None:
        """Raise PermissionDenied unless the requester may rename and delete a conversation visible to them."""
        self._check_role(requester, conversation, {Membership.Role.OWNER})

    def find_user(self, requester: Requester, name: str) -> Any | None:
        """Return the active user whom somebody invites by name, or None. Whoever owns a conversation may ask."""
        users = get_user_model()._default_manager
        found = users.filter(**{users.model.USERNAME_FIELD: name}).first() if name else None
        return found if found and found.is_active else None

    def role(self, requester: Requester, conversation: Conversation) -> Membership.Role:
        """Return what the requester is in a conversation visible to them, by what the checks permit."""
        checks = {Membership.Role.OWNER: self.check_manage, Membership.Role.WRITER: self.check_write}
        for role, check in checks.items():
            with suppress(PermissionDenied):
                check(requester, conversation)
                return role
        return Membership.Role.READER

    def _check_role(self, requester: Requester, conversation: Conversation, roles: set[Membership.Role]) -> None:
        if self._owns(requester, conversation):
            return
        if not self._memberships(requester).filter(conversation=conversation, role__in=roles).exists():
            raise PermissionDenied

    def _owns(self, requester: Requester, conversation: Conversation) -> bool:
        if requester.is_authenticated:
            return bool(conversation.owner_id == requester.user.pk)
        return bool(requester.anonymous_id) and conversation.anonymous_id == requester.anonymous_id

    def _memberships(self, requester: Requester) -> QuerySet[Membership]:
        if not requester.is_authenticated:
            return Membership.objects.none()
        return Membership.objects.filter(user=requester.user)


def get_policy() -> ConversationPolicy:
    """Return the site's permission policy."""
    instance: ConversationPolicy = instance_of(get_settings().policy)
    return instance
