"""Coming back to a stream with a ticket: without a whole request, together with others, and missing nothing."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection
from django.test import AsyncClient

from llmstream.access import Access, Outcome
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.http import returns
from llmstream.http.tickets import Ticket
from llmstream.models import Membership
from tests.http.client import Call, conversation_path, own, signed_in
from tests.http.returning import call, came_back, start, ticket_for, with_ticket
from tests.http.streaming import frames, idle, opened, opening, without_retry
from tests.support import PATIENCE, ask, changed, site, types, until, user, within

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ticketed")]


async def test_who_comes_back_makes_no_request_and_misses_nothing(
    client: AsyncClient, running: Engine, whole: list[str]
) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    with_ticket(client, await ticket_for(client, path))
    fresh = call(client, path, last_event_id=start(found))
    again = call(client, path, last_event_id=start(found), x_request="whole")
    del again._scope["headers"][0]  # without cookies it would be nobody's
    again._scope["headers"].append((b"cookie", fresh._scope["headers"][0][1].replace(b"llmstream_ticket", b"other")))
    before = len(whole)
    async with opening(fresh), opening(again):
        await until(lambda: b"message-end" in fresh.body and b"message-end" in again.body)
        assert len(whole) == before + 1, "only the one without a ticket"
        await run_db(ask, found)
        await until(lambda: all(asked.body.count(b"event: generation-start") == 2 for asked in (fresh, again)))
    assert without_retry(fresh.body) == without_retry(again.body)
    assert {name: fresh.headers[name] for name in fresh.headers} == {
        name: again.headers[name] for name in fresh.headers
    }
    await idle(running)


async def test_who_asks_for_ready_is_told(client: AsyncClient, whole: list[str]) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    with_ticket(client, await ticket_for(client, path))
    asked = call(client, f"{path}?ready=1&last_event_id={start(found)}")
    before = len(whole)
    async with opening(asked):
        await until(lambda: b"message-end" in asked.body)
    assert types(frames(asked.body))[:2] == ["ready", "message-created"]
    assert len(whole) == before


async def test_one_s_right_is_not_another_s(client: AsyncClient, whole: list[str]) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    bob, _ = await run_db(signed_in, "bob")
    membership = await run_db(lambda: Membership.objects.create(conversation=found, user=user("bob")))
    for each in (client, bob):
        with_ticket(each, await ticket_for(each, path))
    await run_db(membership.delete)
    before = len(whole)
    # The first is looked up by itself, the others together.
    calls = [call(each, path, last_event_id=start(found)) for each in (bob, bob, client)]
    tasks = [asyncio.create_task(asked()) for asked in calls]
    await until(lambda: all(asked.body for asked in calls))
    for asked in calls:
        asked.gone.set()
    await asyncio.gather(*tasks)
    assert [asked.status for asked in calls] == [404, 404, 200]
    assert len(whole) == before + 2


async def test_what_a_ticket_opened_ends_as_every_stream_does(client: AsyncClient, whole: list[str]) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    with changed(ACCESS_INTERVAL=0.05):
        with_ticket(client, await ticket_for(client, path))
        before = len(whole)
        asked = call(client, path, last_event_id=start(found))
        async with opening(asked) as task:
            await until(lambda: b"message-end" in asked.body)
            await run_db(User.objects.update, is_active=False)
            await until(task.done)
    assert len(whole) == before
    assert b'"code":"not_authenticated"' in asked.body


@pytest.mark.parametrize(
    "headers",
    [
        {"accept": "application/json"},
        {"origin": "https://app.example.com"},
        {"origin": "http://testserver"},
        {"sec_fetch_site": "cross-site"},
        {"last_event_id": ""},
        {"last_event_id": "rubbish"},
        {"last_event_id": "%s.1.999999999999"},
        {"last_event_id": "%s.2.000000000000"},
    ],
)
async def test_what_is_not_plain_takes_a_whole_request(
    client: AsyncClient, whole: list[str], headers: dict[str, str]
) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    with_ticket(client, await ticket_for(client, path))
    given = {"last_event_id": start(found), **headers}
    given["last_event_id"] = given["last_event_id"].replace("%s", found.public_id)
    asked, let_in = await came_back(client, path, whole, **given)
    assert not let_in
    if given["last_event_id"] != start(found):
        assert b"event: snapshot" in asked.body


async def test_the_limits_hold_for_those_who_come_back(client: AsyncClient, whole: list[str]) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    with_ticket(client, await ticket_for(client, path))
    with changed(MAX_STREAMS_PER_USER=1):
        asked = call(client, path, last_event_id=start(found))
        async with opening(asked):
            await until(lambda: asked.body)
            second, let_in = await came_back(client, path, whole, last_event_id=start(found))
    assert let_in
    assert b"too_many_streams" in second.body


def start_counting() -> None:
    """Note the queries of this thread's connection from here on."""
    connection.force_debug_cursor = True
    connection.queries_log.clear()


async def test_those_who_come_back_at_once_are_looked_up_together(client: AsyncClient, whole: list[str]) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    with_ticket(client, await ticket_for(client, path))
    before = len(whole)
    with changed(DATABASE_THREADS=1, POLL_INTERVAL=60.0, ACCESS_INTERVAL=60.0):
        await run_db(start_counting)
        crowd = [call(client, path, last_event_id=found.public_id + f".1.{found.head:012d}") for _ in range(60)]
        tasks = [asyncio.create_task(asked()) for asked in crowd]
        await until(lambda: all(asked.body for asked in crowd))
        queries = await run_db(lambda: len(connection.queries_log))
        for asked in crowd:
            asked.gone.set()
        await asyncio.gather(*tasks)
    assert len(whole) == before
    assert queries < 20, "two portions and the head of the log"


async def test_a_database_that_fails_leaves_it_to_whole_requests(
    client: AsyncClient, whole: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await run_db(opened)
    path = conversation_path(found, "events/")
    with_ticket(client, await ticket_for(client, path))

    def fail(asked: Any) -> list[Outcome]:
        raise DatabaseError

    monkeypatch.setattr(returns, "look_up", fail)
    asked, let_in = await came_back(client, path, whole, last_event_id=start(found))
    assert (asked.status, let_in) == (200, False)


async def test_nobody_is_left_waiting_by_an_engine_that_is_closed(
    client: AsyncClient, running: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, go_on = threading.Event(), threading.Event()

    def look(asked: Any) -> list[Outcome]:
        looking.set()
        go_on.wait(PATIENCE)
        return [Outcome(None, ()) for _ in asked]

    monkeypatch.setattr(returns, "look_up", look)
    tickets = [Ticket(Access(number, "", "session", 0), number) for number in range(3)]
    finding = [asyncio.create_task(running.part(returns.Returns).find(ticket)) for ticket in tickets]
    await until(looking.is_set)
    closing = asyncio.create_task(running.aclose())
    assert await within(asyncio.gather(*finding)) == [None, None, None]
    go_on.set()
    await within(closing)


async def test_without_the_wrapper_a_ticket_does_nothing(client: AsyncClient, whole: list[str]) -> None:
    found = await run_db(own)
    path = conversation_path(found, "events/")
    with site(TICKET_LIFETIME=900):
        with_ticket(client, await ticket_for(client, path))
        asked = Call(client, path, last_event_id=start(found))
        before = len(whole)
        async with opening(asked):
            await until(lambda: asked.body)
    assert (asked.status, len(whole)) == (200, before + 1)
