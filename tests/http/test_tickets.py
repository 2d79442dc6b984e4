"""Tickets: to whom they are given, and that they permit nothing that a whole request would not."""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import Conversation, Membership
from tests.http.client import conversation_path, generation_path, signed_in
from tests.http.returning import call, came_back, start, taken, ticket_for, with_ticket
from tests.http.streaming import answered, opened, opening
from tests.support import changed, until, user, within
from tests.websocket.test_session_end import ENDS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ticketed")]


async def test_a_ticket_is_a_cookie_of_one_address(client: AsyncClient) -> None:
    path = conversation_path(await run_db(opened), "events/")
    asked = call(client, path)
    async with opening(asked):
        await until(lambda: asked.body)
    morsel = SimpleCookie(asked.headers["set-cookie"])["llmstream_ticket"]
    assert (morsel["path"], morsel["httponly"], morsel["samesite"]) == (path, True, "Strict")
    assert (morsel["max-age"], morsel["secure"]) == ("540", ""), "nine tenths of a stream's life"


async def test_a_ticket_is_as_secure_as_the_session(client: AsyncClient, settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = True
    asked = call(client, conversation_path(await run_db(opened), "events/"))
    async with opening(asked):
        await until(lambda: asked.body)
    assert SimpleCookie(asked.headers["set-cookie"])["llmstream_ticket"]["secure"]


async def test_by_default_a_site_gives_no_tickets_and_takes_none(client: AsyncClient, whole: list[str]) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    with_ticket(client, await ticket_for(client, path))
    with changed(TICKET_LIFETIME=0):
        asked, let_in = await came_back(client, path, whole, last_event_id=start(found))
    assert not let_in
    assert "set-cookie" not in asked.headers


async def test_only_streams_of_conversations_give_tickets(client: AsyncClient) -> None:
    generation = await run_db(answered)
    await within((asked := call(client, generation_path(generation.public_id, "events/")))())
    poll = call(client, conversation_path(generation.conversation, "events/"), accept="application/json")
    await within(poll())
    assert not taken(asked) | taken(poll)


async def test_a_visitor_s_ticket_is_theirs(running: Engine, whole: list[str]) -> None:
    with changed(ALLOW_ANONYMOUS=True):
        visitor, other = AsyncClient(), AsyncClient()
        made = await visitor.post("/llmstream/conversations/", {}, content_type="application/json")
        await other.post("/llmstream/conversations/", {}, content_type="application/json")
        found = await Conversation.objects.aget(public_id=made.json()["id"])
        path = conversation_path(found, "events/")
        ticket = await ticket_for(visitor, path)
        _, let_in = await came_back(with_ticket(visitor, ticket), path, whole, last_event_id=start(found))
        assert let_in
        asked, let_in = await came_back(with_ticket(other, ticket), path, whole, last_event_id=start(found))
        assert (asked.status, let_in) == (404, False)


@pytest.mark.parametrize("end", ENDS)
async def test_a_ticket_ends_with_the_session(
    client: AsyncClient, whole: list[str], end: Callable[[User, list[str]], None]
) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    with_ticket(client, await ticket_for(client, path))
    await run_db(lambda: end(user(), []))
    asked, let_in = await came_back(client, path, whole, last_event_id=start(found))
    assert (asked.status, let_in) == (401, False)


async def test_a_ticket_ends_with_the_membership(client: AsyncClient, whole: list[str]) -> None:
    found = await run_db(opened, "bob")
    await run_db(lambda: Membership.objects.create(conversation=found, user=user()))
    path = conversation_path(found, "events/")
    with_ticket(client, await ticket_for(client, path))
    assert (await came_back(client, path, whole, last_event_id=start(found)))[1]
    await run_db(Membership.objects.all().delete)
    asked, let_in = await came_back(client, path, whole, last_event_id=start(found))
    assert (asked.status, let_in) == (404, False)


async def test_a_ticket_ends_with_the_conversation(client: AsyncClient, whole: list[str]) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    with_ticket(client, await ticket_for(client, path))
    await run_db(Conversation.objects.all().delete)
    asked, let_in = await came_back(client, path, whole, last_event_id=start(found))
    assert (asked.status, let_in) == (404, False)


async def test_a_ticket_grows_old(client: AsyncClient, whole: list[str]) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    with_ticket(client, await ticket_for(client, path))
    with changed(TICKET_LIFETIME=1e-6):
        assert not (await came_back(client, path, whole, last_event_id=start(found)))[1]


async def test_after_a_stream_s_end_a_whole_request_gives_a_new_ticket(client: AsyncClient, whole: list[str]) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    with changed(STREAM_LIFETIME=0.1):
        first = call(client, path)
        await within(first())
        assert b"event: rotate" in first.body
        with_ticket(client, taken(first)["llmstream_ticket"])
        asked, let_in = await came_back(client, path, whole, last_event_id=start(found))
    assert not let_in
    assert "llmstream_ticket" in taken(asked)


async def test_a_ticket_is_worth_nothing_elsewhere(client: AsyncClient, whole: list[str], settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver", "other.example"]
    found, mine = await run_db(opened), await run_db(opened)
    path, theirs = conversation_path(found, "events/"), await run_db(opened, "bob")
    with_ticket(client, await ticket_for(client, path))
    position = {"last_event_id": start(found)}
    assert (await came_back(client, path, whole, **position))[1]
    assert not (await came_back(client, path, whole, **position, host="other.example"))[1]
    for other in (mine, theirs):
        asked, let_in = await came_back(client, conversation_path(other, "events/"), whole, last_event_id=start(other))
        assert (asked.status, let_in) == (200 if other is mine else 404, False)
    assert not (await came_back(client, conversation_path(mine, "events/"), whole, **position))[1]
    bob = with_ticket((await run_db(signed_in, "bob"))[0], client.cookies["llmstream_ticket"].value)
    asked, let_in = await came_back(bob, path, whole, **position)
    assert (asked.status, let_in) == (404, False)
    assert not (await came_back(client, path, whole, **position, host="unknown.example"))[1]


@pytest.mark.parametrize("ticket", ["", "rubbish", "a:b:c", "\x00", '"', "%s1", "1%s"])
async def test_a_forged_ticket_is_no_ticket(client: AsyncClient, whole: list[str], ticket: str) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    genuine = await ticket_for(client, path)
    asked = call(client, path, last_event_id=start(found))
    cookie = asked._scope["headers"][0][1] + b"; llmstream_ticket=" + ticket.replace("%s", genuine).encode()
    asked._scope["headers"][0] = (b"cookie", cookie)
    before = len(whole)
    async with opening(asked):
        await until(lambda: asked.body)
    assert (asked.status, len(whole)) == (200, before + 1)
