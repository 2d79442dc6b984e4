"""Members over HTTP: who is listed, who may add whom, and what a role is worth from then on."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import AsyncClient

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.fields import Fields
from llmstream.http.endpoint import read_body
from llmstream.models import Conversation, Membership
from tests.http.client import conversation_path, own, signed_in
from tests.support import user

pytestmark = pytest.mark.django_db(transaction=True)


async def call(client: AsyncClient, method: str, path: str, **fields: str) -> tuple[int, Any]:
    """Make a request and return its status and body."""
    response = await getattr(client, method)(path, orjson.dumps(fields), content_type="application/json")
    return response.status_code, orjson.loads(response.content or b"null")


async def members(client: AsyncClient, found: Conversation) -> list[tuple[str, str]]:
    """Return names and roles."""
    listed = orjson.loads((await client.get(conversation_path(found, "members/"))).content)["members"]
    return [(entry["user"]["name"], entry["role"]) for entry in listed]


def roles() -> list[str]:
    """Return the roles of all memberships."""
    return list(Membership.objects.values_list("role", flat=True))


async def test_an_owner_adds_changes_and_removes(running: Engine) -> None:
    owner, _ = await run_db(signed_in)
    guest, bob = await run_db(signed_in, "bob")
    found = await run_db(own, "ann")
    path = conversation_path(found, "members/")
    assert (await guest.get(conversation_path(found))).status_code == 404
    status, body = await call(owner, "post", path, user="bob")
    assert (status, body) == (201, {"user": {"id": str(bob.pk), "name": "bob"}, "role": "writer"})
    assert await members(guest, found) == [("ann", "owner"), ("bob", "writer")]
    assert (
        await guest.post(conversation_path(found, "messages/"), {"content": "Hi"}, content_type="application/json")
    ).status_code == 201
    assert (await call(owner, "patch", f"{path}{bob.pk}/", role="reader"))[0] == 200
    assert (
        await guest.post(conversation_path(found, "messages/"), {"content": "Hi"}, content_type="application/json")
    ).status_code == 403
    assert (await call(owner, "delete", f"{path}{bob.pk}/"))[0] == 204
    assert (await guest.get(conversation_path(found))).status_code == 404


async def test_adding_again_changes_the_role(running: Engine) -> None:
    owner, _ = await run_db(signed_in)
    await run_db(user, "bob")
    found = await run_db(own, "ann")
    for role in ("reader", "owner"):
        status, body = await call(owner, "post", conversation_path(found, "members/"), user="bob", role=role)
        assert (status, body["role"]) == (201, role)
    assert await run_db(roles) == ["owner"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"user": "nobody"}, "no_such_user"),
        ({"user": ""}, "no_such_user"),
        ({"user": "gone"}, "no_such_user"),
        ({"user": "ann"}, "invalid_request"),
        ({"user": "bob", "role": "king"}, "invalid_request"),
        ({"user": "b" * 255}, "too_large"),
    ],
)
async def test_who_cannot_be_added(running: Engine, fields: dict[str, str], code: str) -> None:
    owner, _ = await run_db(signed_in)
    await run_db(user, "bob")
    await run_db(User.objects.create, username="gone", is_active=False)
    found = await run_db(own, "ann")
    _, body = await call(owner, "post", conversation_path(found, "members/"), **fields)
    assert body["error"]["code"] == code
    assert await run_db(roles) == []


@pytest.mark.parametrize("role", ["reader", "writer"])
async def test_members_manage_nobody_but_may_leave(running: Engine, role: str) -> None:
    client, bob = await run_db(signed_in, "bob")
    found = await run_db(own, "ann")
    other = await run_db(user, "carol")
    for guest in (bob, other):
        await run_db(Membership.objects.create, conversation=found, user=guest, role=role)
    path = conversation_path(found, "members/")
    assert (await call(client, "post", path, user="ann"))[0] == 403
    assert (await call(client, "patch", f"{path}{bob.pk}/", role="owner"))[0] == 403
    assert (await call(client, "delete", f"{path}{other.pk}/"))[0] == 403
    assert (await call(client, "delete", f"{path}{bob.pk}/"))[0] == 204
    assert (await client.get(conversation_path(found))).status_code == 404


@pytest.mark.parametrize("key", ["0", "x", "99999999999999999999", "%00"])
async def test_who_is_no_member_cannot_be_changed(running: Engine, key: str) -> None:
    owner, _ = await run_db(signed_in)
    found = await run_db(own, "ann")
    assert (await call(owner, "patch", conversation_path(found, f"members/{key}/"), role="reader"))[0] == 404


async def test_a_member_who_is_removed_meanwhile_is_not_found(running: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, _ = await run_db(signed_in)
    bob, found = await run_db(user, "bob"), await run_db(own, "ann")
    await run_db(Membership.objects.create, conversation=found, user=bob)

    def removed(request: HttpRequest) -> Fields:
        Membership.objects.all().delete()
        return read_body(request)

    monkeypatch.setattr("llmstream.http.members.read_body", removed)
    path = conversation_path(found, f"members/{bob.pk}/")
    assert (await call(owner, "patch", path, role="reader"))[0] == 404
