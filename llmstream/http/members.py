"""Who else takes part in a conversation: list, add, change the role, remove."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from ..exceptions import InvalidRequest, NoSuchUser, NotFound
from ..fields import Fields
from ..log.transaction import locked
from ..lookup import find_conversation
from ..models import Conversation, Membership
from ..permissions import Requester, get_policy
from ..snapshot import user_object
from .endpoint import Endpoint, json_response, read_body

_NAME_LENGTH = 254


class MemberList(Endpoint):
    """``GET`` and ``POST conversations/<id>/members/``."""

    async def get(self, request: HttpRequest, conversation: str) -> HttpResponse:
        """List the owner and the members."""
        return json_response(await self.work(_list, conversation))

    async def post(self, request: HttpRequest, conversation: str) -> HttpResponse:
        """Add a user by name, or give a member another role."""
        return json_response(await self.work(_add, conversation), status=201)


class MemberDetail(Endpoint):
    """``PATCH`` and ``DELETE conversations/<id>/members/<user>/``."""

    async def patch(self, request: HttpRequest, conversation: str, user: str) -> HttpResponse:
        """Change a member's role."""
        return json_response(await self.work(_change, conversation, user))

    async def delete(self, request: HttpRequest, conversation: str, user: str) -> HttpResponse:
        """Remove a member; members may remove themselves. What they have open ends within a minute."""
        await self.work(_remove, conversation, user)
        return HttpResponse(status=204)


def _list(request: HttpRequest, conversation: str) -> dict[str, Any]:
    found = find_conversation(get_policy().identify(request), conversation)
    owner = [{"user": user_object(found.owner), "role": Membership.Role.OWNER}] if found.owner else []
    memberships = found.memberships.select_related("user").order_by("pk")
    return {"members": [*owner, *map(_member_object, memberships)]}


def _add(request: HttpRequest, conversation: str) -> dict[str, Any]:
    requester = get_policy().identify(request)
    found = _managed(requester, conversation)
    fields = read_body(request)
    user = get_policy().find_user(requester, fields.text("user", limit=_NAME_LENGTH))
    if user is None:
        raise NoSuchUser
    if user.pk == found.owner_id:
        raise InvalidRequest("The owner takes part already.")
    # Under the conversation's lock, so that the same user is never added twice at once.
    with locked(found.pk):
        membership, _ = Membership.objects.update_or_create(
            conversation=found, user=user, defaults={"role": _role(fields)}
        )
    return _member_object(membership)


def _change(request: HttpRequest, conversation: str, user: str) -> dict[str, Any]:
    membership = _membership(_managed(get_policy().identify(request), conversation), user)
    membership.role = _role(read_body(request))
    if not Membership.objects.filter(pk=membership.pk).update(role=membership.role):
        raise NotFound  # removed meanwhile
    return _member_object(membership)


def _remove(request: HttpRequest, conversation: str, user: str) -> None:
    requester = get_policy().identify(request)
    found = find_conversation(requester, conversation)
    membership = _membership(found, user)
    if membership.user != requester.user_or_none:
        get_policy().check_manage(requester, found)
    membership.delete()


def _managed(requester: Requester, public_id: str) -> Conversation:
    conversation = find_conversation(requester, public_id)
    get_policy().check_manage(requester, conversation)
    return conversation


def _membership(conversation: Conversation, user: str) -> Membership:
    # Compared as text: a user model's key may be a number or a UUID, and any other text is nobody's.
    for membership in conversation.memberships.select_related("user"):
        if str(membership.user_id) == user:
            return membership
    raise NotFound


def _role(fields: Fields) -> str:
    return fields.text("role", limit=10, choices=tuple(Membership.Role.values)) or Membership.Role.WRITER


def _member_object(membership: Membership) -> dict[str, Any]:
    return {"user": user_object(membership.user), "role": membership.role}
