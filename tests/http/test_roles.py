"""Members and visitors: what each role may do, and what an anonymous session holds."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from django.test import AsyncClient

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.endings import stop
from llmstream.models import Conversation, Membership
from tests.files import attaching, upload
from tests.http.client import JSON, ROOT, conversation_path, generation_path, own, signed_in
from tests.support import ask, site, user

pytestmark = pytest.mark.django_db(transaction=True)

#: The status that each action of a member leads to, by role.
ALLOWED = {
    "read": {"reader": 200, "writer": 200, "owner": 200},
    "poll": {"reader": 200, "writer": 200, "owner": 200},
    "page": {"reader": 200, "writer": 200, "owner": 200},
    "formulas": {"reader": 200, "writer": 200, "owner": 200},
    "post": {"reader": 403, "writer": 303, "owner": 303},
    "send": {"reader": 403, "writer": 201, "owner": 201},
    "stop": {"reader": 403, "writer": 200, "owner": 200},
    "retry": {"reader": 403, "writer": 201, "owner": 201},
    "rate": {"reader": 200, "writer": 200, "owner": 200},
    "unrate": {"reader": 204, "writer": 204, "owner": 204},
    "ratings": {"reader": 200, "writer": 200, "owner": 200},
    "attach": {"reader": 403, "writer": 201, "owner": 201},
    "steer": {"reader": 403, "writer": 409, "owner": 409},
    "decide": {"reader": 403, "writer": 404, "owner": 404},
    "choose": {"reader": 403, "writer": 200, "owner": 200},
    "rename": {"reader": 403, "writer": 403, "owner": 200},
    "delete": {"reader": 403, "writer": 403, "owner": 204},
}

#: Those on feedback.
FEEDBACK = ("rate", "unrate", "ratings")


def shared(role: str) -> tuple[Conversation, str]:
    """Return a conversation of bob's in which ann has a role, and its stopped generation."""
    sent = ask(own("bob"))
    stop(sent.generation.pk)
    Membership.objects.create(conversation=sent.conversation, user=user("ann"), role=role)
    return sent.conversation, sent.generation.public_id


async def act_on_feedback(client: AsyncClient, action: str, found: Conversation, _: str) -> Any:
    """Rate an answer, withdraw that, or list what one thinks."""
    if action == "ratings":
        return await client.get(conversation_path(found, "feedback/"))
    answer = await run_db(lambda: found.messages.get(role="assistant").public_id)
    path = f"{ROOT}messages/{answer}/feedback/"
    if action == "unrate":
        return await client.delete(path)
    return await client.post(path, {"rating": "up"}, content_type="application/json")


async def read(client: AsyncClient, action: str, found: Conversation) -> Any:
    """Look at something over HTTP, or post the page's form."""
    match action:
        case "read":
            return await client.get(conversation_path(found))
        case "poll":
            return await client.get(conversation_path(found, "events/?after="), headers=JSON)
        case "page":
            return await client.get(conversation_path(found, "page/"))
        case "post":
            return await client.post(conversation_path(found, "page/"), {"content": "Hello"})
    answer = await run_db(lambda: found.messages.get(role="assistant").public_id)
    return await client.get(f"{ROOT}messages/{answer}/formulas/")


async def act(client: AsyncClient, action: str, found: Conversation, generation: str) -> Any:
    """Do something over HTTP."""
    typed: Any = {"content_type": "application/json"}
    match action:
        case "read" | "poll" | "page" | "post" | "formulas":
            return await read(client, action, found)
        case "send":
            return await client.post(conversation_path(found, "messages/"), {"content": "Hello"}, **typed)
        case "attach":
            return await upload(client, found)
        case "rename":
            return await client.patch(conversation_path(found), {"title": "Renamed"}, **typed)
        case "choose":
            message = await run_db(lambda: found.messages.earliest("first_seq").public_id)
            return await client.patch(conversation_path(found), {"leaf": message}, **typed)
        case "steer":
            return await client.post(generation_path(generation, "steer/"), {"content": "Hello"}, **typed)
        case "decide":
            return await client.post(generation_path(generation, "tool-calls/x/"), {"decision": "approve"}, **typed)
        case "delete":
            return await client.delete(conversation_path(found))
    return await client.post(generation_path(generation, f"{action}/"), {}, **typed)


@pytest.mark.parametrize("role", ["reader", "writer", "owner"])
@pytest.mark.parametrize("action", ALLOWED)
async def test_members_do_what_their_role_allows(running: Engine, action: str, role: str) -> None:
    client, _ = await run_db(signed_in)
    found, generation = await run_db(shared, role)
    with attaching():
        does = act_on_feedback if action in FEEDBACK else act
        response = await does(client, action, found, generation)
    assert response.status_code == ALLOWED[action][role]
    if response.status_code == 403:
        assert orjson.loads(response.content)["error"]["code"] == "permission_denied"


async def test_a_shared_conversation_is_in_the_member_s_list_once(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    found, _ = await run_db(shared, "reader")
    await run_db(own, "carol")
    listed = orjson.loads((await client.get(f"{ROOT}conversations/")).content)["conversations"]
    assert [entry["id"] for entry in listed] == [found.public_id]


async def test_who_is_no_longer_a_member_sees_nothing(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    found, _ = await run_db(shared, "owner")
    await run_db(Membership.objects.all().delete)
    assert (await client.get(conversation_path(found))).status_code == 404


async def create(client: AsyncClient) -> Any:
    """Start a conversation."""
    return await client.post(f"{ROOT}conversations/", {}, content_type="application/json")


async def test_visitors_hold_nothing_unless_the_site_allows_it(running: Engine) -> None:
    client = AsyncClient()
    assert (await create(client)).status_code == 401
    assert not client.cookies
    assert not await run_db(Conversation.objects.exists)


async def test_a_visitor_s_conversations_belong_to_the_session(running: Engine) -> None:
    visitor, other = AsyncClient(), AsyncClient()
    signed, _ = await run_db(signed_in)
    with site(ALLOW_ANONYMOUS=True):
        mine = orjson.loads((await create(visitor)).content)
        await create(other)
        path = mine["urls"]["self"]
        statuses = [(await client.get(path)).status_code for client in (visitor, other, AsyncClient(), signed)]
        assert statuses == [200, 404, 404, 404]
        listed = orjson.loads((await visitor.get(f"{ROOT}conversations/")).content)["conversations"]
        assert [entry["id"] for entry in listed] == [mine["id"]]
        assert orjson.loads((await AsyncClient().get(f"{ROOT}conversations/")).content)["conversations"] == []
        sent = await visitor.post(mine["urls"]["messages"], {"content": "Hi"}, content_type="application/json")
        assert sent.status_code == 201
        assert orjson.loads(sent.content)["message"]["author"] is None
    assert (await visitor.get(path)).status_code == 401
