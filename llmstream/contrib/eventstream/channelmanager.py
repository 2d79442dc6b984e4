"""Who may read which channel: the site's permission policy decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from django_eventstream.channelmanager import DefaultChannelManager

from ...models import Conversation
from ...permissions import Requester, get_policy
from .channels import OPERATIONS, conversation_of, is_ours, user_channel

#: What a member of the staff needs to follow the whole site.
_OPERATIONS_PERMISSION = "llmstream.view_generation"


class ChannelManagerMixin:
    """Decides about our channels and leaves all others to the class it is mixed into."""

    def get_channels_for_request(self, request: HttpRequest, view_kwargs: Mapping[str, Any]) -> set[str]:
        """Return the channels that a request names; the user's own one when it names none."""
        named: set[str] = super().get_channels_for_request(request, view_kwargs)  # type: ignore[misc]
        return named or ({user_channel(request.user)} if request.user.is_authenticated else set())

    def can_read_channel(self, user: Any, channel: str) -> bool:
        """Whether a user may read a channel; ``user`` is None for a visitor, who reads none of ours."""
        if not is_ours(channel):
            return bool(super().can_read_channel(user, channel))  # type: ignore[misc]
        if user is None:
            return False
        if channel == OPERATIONS:
            return bool(user.is_staff and user.has_perm(_OPERATIONS_PERMISSION))
        if public_id := conversation_of(channel):
            found = Conversation.objects.filter(public_id=public_id).first()
            return found is not None and get_policy().can_read(Requester(user), found)
        return channel == user_channel(user)

    def is_channel_reliable(self, channel: str) -> bool:
        """Whether what a client has missed is kept for it, where the site has a storage."""
        return is_ours(channel) or bool(super().is_channel_reliable(channel))  # type: ignore[misc]


class _Closed(DefaultChannelManager):  # type: ignore[misc]
    """django-eventstream's own lets everybody read everything."""

    def can_read_channel(self, user: Any, channel: str) -> bool:
        return False


class ChannelManager(ChannelManagerMixin, _Closed):
    """For sites without channels of their own: nobody reads any but ours."""
