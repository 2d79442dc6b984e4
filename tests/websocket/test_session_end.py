"""What was permitted at the start ends: sockets are closed, rooms and streams end, and what remains lives on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.http import HttpRequest
from django.test import AsyncClient
from django.utils import timezone

from llmstream.access import Access, review
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import Conversation, Membership
from llmstream.permissions import Requester
from tests.http.client import ROOT, Call, conversation_path, own, signed_in
from tests.support import site, until, user
from tests.websocket.visitors import visit

pytestmark = pytest.mark.django_db(transaction=True)

QUICK: dict[str, Any] = {"ACCESS_INTERVAL": 0.05, "POLL_INTERVAL": 0.02}


def sign_out(ann: User, others: list[str]) -> None:
    """Delete the session, as a logout does."""
    Session.objects.exclude(pk__in=others).delete()


def expire(ann: User, others: list[str]) -> None:
    """Let the session expire."""
    Session.objects.exclude(pk__in=others).update(expire_date=timezone.now())


def disable(ann: User, others: list[str]) -> None:
    """Disable the user."""
    User.objects.filter(pk=ann.pk).update(is_active=False)


def change_password(ann: User, others: list[str]) -> None:
    """Change the user's password elsewhere."""
    ann.set_password("another")
    ann.save()


def delete_user(ann: User, others: list[str]) -> None:
    """Delete the user and everything of theirs."""
    ann.delete()


ENDS: list[Callable[[User, list[str]], None]] = [sign_out, expire, disable, change_password, delete_user]


@pytest.mark.parametrize("end", ENDS)
async def test_a_socket_whose_session_ends_is_closed_and_no_other(
    running: Engine, end: Callable[[User, list[str]], None]
) -> None:
    with site(**QUICK):
        async with visit("bob") as bob:
            bobs = await run_db(lambda: list(Session.objects.values_list("pk", flat=True)))
            client, ann = await run_db(signed_in)
            room = (await run_db(own)).public_id
            async with visit(client) as visitor:
                await visitor.ask("join", room=room)
                await visitor.until(lambda frame: frame["type"] == "presence")
                assert await visitor.silent(0.3)
                await run_db(end, ann, bobs)
                assert await visitor.closed() == 4401
                assert visitor.frames[-1]["error"]["code"] == "not_authenticated"
            assert (await bob.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize("store", ["cached_db", "cache", "file"])
async def test_a_logout_is_seen_in_every_kind_of_session_store(running: Engine, store: str, settings: Any) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{store}"
    client, _ = await run_db(signed_in)
    room = (await run_db(own)).public_id
    with site(**QUICK):
        async with visit(client) as visitor:
            await visitor.ask("join", room=room)
            await visitor.until(lambda frame: frame["type"] == "presence")
            assert await visitor.silent(0.3)
            await client.alogout()
            assert await visitor.closed() == 4401


async def test_a_visitor_s_session_ends_too(running: Engine) -> None:
    client = AsyncClient()
    with site(ALLOW_ANONYMOUS=True, **QUICK):
        made = await client.post(f"{ROOT}conversations/", {}, content_type="application/json")
        async with visit(client) as visitor:
            await visitor.ask("join", room=orjson.loads(made.content)["id"])
            await visitor.until(lambda frame: frame["type"] == "presence")
            assert await visitor.silent(0.3)
            await run_db(Session.objects.all().delete)
            assert await visitor.closed() == 4401


async def test_a_removed_member_s_room_ends_and_the_rest_lives_on(running: Engine) -> None:
    shared, mine = await run_db(own, "bob"), await run_db(own)
    await run_db(lambda: Membership.objects.create(conversation=shared, user=user("ann")))
    with site(**QUICK):
        async with visit() as ann, visit("bob") as bob:
            for room in (shared, mine):
                await ann.ask("join", room=room.public_id)
            await bob.ask("join", room=shared.public_id)
            await bob.until(lambda frame: frame["type"] == "presence" and len(frame["members"]) == 2)
            await run_db(Membership.objects.all().delete)
            end = await ann.until(lambda frame: frame["type"] == "end")
            assert end == {"type": "end", "room": shared.public_id, "reason": "not_found"}
            await bob.until(lambda frame: frame["type"] == "presence" and len(frame["members"]) == 1)
            ack = await bob.ask("send", room=shared.public_id, content="secret")
            await bob.end_of(ack["generation"]["id"])
            ack = await ann.ask("send", room=mine.public_id, content="mine")
            await ann.end_of(ack["generation"]["id"])
            assert "secret" not in str(ann.frames)


async def test_what_a_policy_grants_by_the_user_s_rights_ends_with_them(running: Engine) -> None:
    room = (await run_db(own, "bob")).public_id
    client, _ = await run_db(signed_in)
    with site(POLICY="tests.websocket.policies.StaffPolicy", **QUICK):
        await run_db(lambda: User.objects.update(is_staff=True))
        async with visit(client) as visitor:
            await visitor.ask("join", room=room)
            await run_db(lambda: User.objects.update(is_staff=False))
            assert (await visitor.until(lambda frame: frame["type"] == "end"))["reason"] == "not_found"
            assert (await visitor.ask("join", room=room))["error"]["code"] == "not_found"


async def test_what_a_policy_reads_off_the_conversation_ends_with_that(running: Engine) -> None:
    found = await run_db(own, "bob", title="public")
    with site(POLICY="tests.websocket.policies.TitlePolicy", **QUICK):
        async with visit() as ann:
            assert (await ann.ask("join", room=found.public_id))["role"] == "reader"
            await run_db(lambda: Conversation.objects.update(title="private"))
            assert (await ann.until(lambda frame: frame["type"] == "end"))["reason"] == "not_found"


async def test_who_is_not_signed_in_by_a_session_needs_none(running: Engine) -> None:
    room = (await run_db(own)).public_id
    with site(POLICY="tests.websocket.policies.BearerPolicy", **QUICK):
        async with visit(None, authorization="Bearer ann") as visitor:
            await visitor.ask("join", room=room)
            await visitor.until(lambda frame: frame["type"] == "presence")
            assert await visitor.silent(0.3)
            await run_db(lambda: User.objects.update(is_active=False))
            assert await visitor.closed() == 4401


@pytest.mark.parametrize("end", ENDS)
async def test_an_event_stream_ends_with_the_session(running: Engine, end: Callable[[User, list[str]], None]) -> None:
    client, ann = await run_db(signed_in)
    found = await run_db(own)
    with site(**QUICK):
        call = Call(client, conversation_path(found, "events/"))
        task = running.spawn(call())
        await until(lambda: b"snapshot" in call.body)
        await run_db(end, ann, [])
        await until(task.done)
    assert call.complete
    assert b'"code":"not_authenticated"' in call.body or b'"code":"not_found"' in call.body
    assert b"retry: 3" not in call.body
    assert not running.streams


async def test_an_event_stream_ends_with_the_membership(running: Engine) -> None:
    found = await run_db(own, "bob")
    client, ann = await run_db(signed_in)
    await run_db(lambda: Membership.objects.create(conversation=found, user=ann))
    with site(**QUICK):
        call = Call(client, conversation_path(found, "events/"))
        task = running.spawn(call())
        await until(lambda: b"snapshot" in call.body)
        await run_db(Membership.objects.all().delete)
        await until(task.done)
    assert call.body.rstrip().endswith(b'"temporary":false,"retry_after_ms":null}}')
    assert b'"code":"not_found"' in call.body


class Held:
    """Something open that remembers what it was told."""

    def __init__(self, access: Access, shown: list[int]) -> None:
        self.access = access
        self.outcome: Any = None
        self._shown = shown

    def shown(self) -> list[int]:
        """Return the conversations."""
        return self._shown

    def review(self, requester: Any, readable: Any) -> None:
        """Note the outcome."""
        self.outcome = requester, set(readable)


@pytest.mark.parametrize("count", [1, 100])
async def test_everything_open_is_reviewed_together(transactional_db: None, count: int) -> None:
    with site(DATABASE_THREADS=1):  # and no engine, whose timer would use it, too
        held = await run_db(many_held, count)
        await run_db(start_counting)
        await review(held)
        assert await run_db(lambda: len(connection.queries_log)) == 3, "users, conversations, memberships"
    for number, holder in enumerate(held):
        requester, readable = holder.outcome
        assert requester.user.username == f"user{number}"
        assert readable == set(holder.shown()[:2])


def start_counting() -> None:
    """Note the queries of this thread's connection from here on."""
    connection.force_debug_cursor = True
    connection.queries_log.clear()


def many_held(count: int) -> list[Held]:
    """Return as many holders, each with one conversation of their own, one as a member, and one foreign one."""
    foreign = own("bob")
    held = []
    for number in range(count):
        name = f"user{number}"
        shared = own("bob")
        Membership.objects.create(conversation=shared, user=user(name))
        access = Access.of(HttpRequest(), Requester(user(name)))
        held.append(Held(access, [own(name).pk, shared.pk, foreign.pk]))
    return held


async def test_a_policy_that_fails_for_somebody_fails_for_them_only(running: Engine) -> None:
    held = await run_db(many_held, 3)
    with site(POLICY="tests.websocket.policies.BrittlePolicy"):
        await review(held)
    assert [holder.outcome and holder.outcome[0].user.username for holder in held] == ["user0", None, "user2"]


class Latecomer:
    """Shows a conversation only once the review is under way."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.answers: list[set[int]] = [set(), {7}]
        self.readable: set[int] = set()

    def shown(self) -> set[int]:
        return self.answers.pop(0)

    def review(self, requester: Requester | None, readable: Any) -> None:
        self.readable = set(readable)


async def test_a_room_that_is_joined_during_a_review_stays(running: Engine) -> None:
    ann = await run_db(user, "ann")
    latecomer = Latecomer(await run_db(Access.of, HttpRequest(), Requester(ann)))
    await review([latecomer])
    assert latecomer.readable == {7}
