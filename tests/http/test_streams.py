"""Open streams over ASGI: the same with and without the handoff, bounded, and gone without a trace."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.db import OperationalError
from django.test import AsyncClient

from llmstream import readers
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.http import events as events_view
from llmstream.http.handoff import StreamHandoff
from llmstream.log.reading import Page, read_page
from llmstream.models import Conversation, Generation
from tests.http.client import JSON, Call, conversation_path, generation_path, own, signed_in
from tests.http.streaming import answered, frames, idle, opened, opening, start_of, without_retry
from tests.support import PATIENCE, Upstream, ask, changed, check_log, ended, site, stored, types, until, within

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _quick_timer() -> Iterator[None]:
    """Let the engine's timer tick often, from its first tick on."""
    with changed(POLL_INTERVAL=0.01):
        yield


async def test_handoff_and_django_send_the_same(client: AsyncClient, running: Engine) -> None:
    generation = await run_db(answered)
    for path in (start_of(generation), generation_path(generation.public_id, "events/")):
        calls = [Call(client, path, app=StreamHandoff(ASGIHandler())), Call(client, path)]
        for call in calls:
            await within(call())
            assert (call.status, call.complete) == (200, True)
        handed, plain = calls
        assert without_retry(handed.body) == without_retry(plain.body)
        assert types(frames(handed.body))[-1] == "message-end"
        assert plain.headers.pop("content-encoding") == "identity"
        assert handed.headers.keys() == plain.headers.keys() - {"content-encoding"}
        assert handed.headers["content-type"] == "text/event-stream"
        assert "no-transform" in handed.headers["cache-control"]
        assert not [name for name in handed.headers if "llmstream" in name or name == "content-length"]
    await idle(running)


async def test_the_stream_s_events_are_those_of_the_log(client: AsyncClient, app: Any) -> None:
    generation = await run_db(answered)
    await within((call := Call(client, start_of(generation), app=app))())
    log, got = await run_db(stored, generation.conversation_id), frames(call.body)
    assert "".join(event.get("delta", "") for event in got) == "Hello world"
    # A replay joins neighbouring deltas; everything else comes as it was stored.
    rest = [{key: value for key, value in event.items() if key != "seq"} for event in log]
    assert [e for e in got if e["type"] != "text-delta"] == [e for e in rest if e["type"] != "text-delta"]
    assert re.findall(rb"^id: (.*)$", call.body, re.MULTILINE)[-1].decode().endswith(f"{generation.end_seq:012d}")


async def test_a_prompt_s_answer_streams_in_its_own_response(client: AsyncClient, app: Any, running: Engine) -> None:
    owner = await run_db(own)
    with site():
        path = conversation_path(owner, "messages/")
        call = Call(client, path, b'{"content": "Hello"}', app=app, accept="text/event-stream")
        await within(call())
    got = frames(call.body)
    assert (types(got)[0], types(got)[-1], got[-1]["status"]) == ("message-created", "message-end", "completed")
    assert "".join(event.get("delta", "") for event in got) == "Hello"
    await idle(running)


async def test_past_the_end_there_is_nothing_to_stream(client: AsyncClient, app: Any) -> None:
    generation = await run_db(answered)
    last = f"{generation.conversation.public_id}.1.{generation.end_seq:012d}"
    call = Call(client, generation_path(generation.public_id, "events/"), app=app, last_event_id=last)
    await within(call())
    assert (call.status, call.body) == (204, b"")


async def test_the_header_wins_over_the_query(client: AsyncClient, app: Any) -> None:
    generation = await run_db(answered)
    last = f"{generation.conversation.public_id}.1.{(generation.end_seq or 0) - 1:012d}"
    await within((call := Call(client, start_of(generation), app=app, last_event_id=last))())
    assert types(frames(call.body)) == ["message-end"]


# An event is for those who ask for it: browsers tell nothing of comments.
@pytest.mark.parametrize(("query", "told"), [("", []), ("?ready=1", ["ready", "heartbeat", "heartbeat"])])
async def test_a_silent_stream_has_heartbeats(
    client: AsyncClient, app: Any, running: Engine, query: str, told: list[str]
) -> None:
    owner = await run_db(opened)
    with changed(HEARTBEAT=0.02):
        call = Call(client, conversation_path(owner, f"events/{query}"), app=app)
        async with opening(call):
            await until(lambda: call.body.count(b": keep-alive\n\n") >= 3)
    assert [kind for kind in types(frames(call.body)) if kind != "snapshot"][:3] == told
    await idle(running)


async def test_a_stream_with_news_needs_no_heartbeat(client: AsyncClient, app: Any, running: Engine) -> None:
    owner = await run_db(opened)
    with changed(HEARTBEAT=60.0):
        call = Call(client, conversation_path(owner, "events/"), app=app)
        async with opening(call):
            await until(lambda: call.body)
            await run_db(ask, owner)
            await until(lambda: b"generation-start" in call.body)
    assert b"keep-alive" not in call.body


async def test_at_the_end_of_its_life_a_stream_sends_the_client_back(
    client: AsyncClient, app: Any, running: Engine
) -> None:
    owner = await run_db(opened)
    with changed(STREAM_LIFETIME=0.1):
        await within((call := Call(client, conversation_path(owner, "events/"), app=app))())
    assert call.complete
    assert re.search(rb'event: rotate\ndata: \{"type":"rotate"\}\n\nretry: \d{2,3}\n\n$', call.body)
    await idle(running)


async def test_a_client_that_goes_away_in_a_write_leaves_nothing(
    client: AsyncClient, app: Any, running: Engine
) -> None:
    owner = await run_db(opened)
    call = Call(client, conversation_path(owner, "events/"), app=app)
    task = asyncio.create_task(call())
    await until(lambda: call.body)
    call.taking.clear()
    await run_db(ask, owner)
    await until(lambda: call.blocked)
    call.gone.set()
    await asyncio.wait([task], timeout=PATIENCE)
    assert task.done()
    await asyncio.gather(task, return_exceptions=True)
    await idle(running)


async def test_a_disconnect_leaves_the_answer_running_and_nothing_else(
    client: AsyncClient, app: Any, running: Engine
) -> None:
    upstream = Upstream()
    owner = await run_db(own)
    with site(upstream):
        path = conversation_path(owner, "messages/")
        call = Call(client, path, b'{"content": "Hello"}', app=app, accept="text/event-stream")
        async with opening(call):
            await until(lambda: call.sent)
            upstream.say("some ")
            await until(lambda: b"some " in call.body)
        await idle(running)
        assert not upstream.closed.is_set()
        upstream.say("more")
        upstream.finish()
        generation = await ended(await run_db(Generation.objects.get, conversation=owner))
    assert (generation.status, generation.message.text) == ("completed", "some more")
    await run_db(check_log, owner)


async def test_one_stream_too_many_is_told_to_come_back(client: AsyncClient, app: Any, running: Engine) -> None:
    owner = await run_db(opened)
    path = conversation_path(owner, "events/")
    with changed(MAX_STREAMS=1):
        async with opening(first := Call(client, path, app=app)):
            await until(lambda: first.body)
            await within((second := Call(client, path, app=app))())
            assert (second.status, second.complete) == (200, True)
            assert second.body.startswith(b"retry: ")
            (error,) = frames(second.body)
            assert (error["type"], error["error"]["code"], error["error"]["temporary"]) == ("error", "overloaded", True)
            assert not first.complete
        await idle(running)
        async with opening(third := Call(client, path, app=app)):
            await until(lambda: types(frames(third.body)) == ["snapshot"])


async def test_a_user_has_so_many_streams_and_waiting_polls_and_no_more(
    client: AsyncClient, app: Any, running: Engine
) -> None:
    owner = await run_db(opened)
    bob, _ = await run_db(signed_in, "bob")
    theirs = conversation_path(await run_db(opened, "bob"), "events/")
    path, position = conversation_path(owner, "events/"), f"after={owner.last_event_id}"
    with changed(MAX_STREAMS_PER_USER=2):
        async with opening(Call(client, path, app=app)) as first, opening(second := Call(client, path, app=app)):
            await until(lambda: second.body and len(running.streams) == 2)
            await within((third := Call(client, path, app=app))())
            assert (third.status, third.body[:7]) == (200, b"retry: ")
            (error,) = frames(third.body)
            assert (error["error"]["code"], error["error"]["temporary"]) == ("too_many_streams", True)
            poll = await client.get(f"{path}?wait=10&{position}", headers=JSON)
            assert (poll.status_code, poll.json()["error"]["code"]) == (429, "too_many_streams")
            assert (await client.get(f"{path}?{position}", headers=JSON)).status_code == 200
            async with opening(other := Call(bob, theirs, app=app)):
                await until(lambda: types(frames(other.body)) == ["snapshot"])
            assert not first.done()
        await idle(running)
        waiting = [asyncio.create_task(client.get(f"{path}?wait=10&{position}", headers=JSON)) for _ in range(2)]
        await until(lambda: sum(topic.readers for topic in running.hub.topics.values()) == 2)
        await within((fourth := Call(client, path, app=app))())
        assert frames(fourth.body)[0]["error"]["code"] == "too_many_streams"
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        async with opening(fifth := Call(client, path, app=app)):
            await until(lambda: types(frames(fifth.body)) == ["snapshot"])


async def test_waiting_polls_are_counted_among_the_streams_of_a_process(client: AsyncClient, running: Engine) -> None:
    owner = await run_db(opened)
    path, position = conversation_path(owner, "events/"), f"after={owner.last_event_id}"
    with changed(MAX_STREAMS=1):
        waiting = asyncio.create_task(client.get(f"{path}?wait=10&{position}", headers=JSON))
        await until(lambda: sum(topic.readers for topic in running.hub.topics.values()) == 1)
        poll = await client.get(f"{path}?wait=10&{position}", headers=JSON)
        assert (poll.status_code, poll.json()["error"]["code"]) == (503, "overloaded")
        await within((stream := Call(client, path))())
        assert frames(stream.body)[0]["error"]["code"] == "overloaded"
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_the_database_fails_in_the_middle(
    client: AsyncClient, app: Any, running: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = 0

    def flaky(conversation: int, after: int, *, max_bytes: int) -> Page:
        nonlocal pages
        pages += 1
        if pages == 2:
            raise OperationalError("secret")
        return read_page(conversation, after, max_bytes=max_bytes)

    generation = await run_db(answered)
    monkeypatch.setattr(readers, "read_page", flaky)
    with changed(PAGE_BYTES=10):
        await within((call := Call(client, start_of(generation), app=app))())
    first, error = frames(call.body)
    assert (call.status, call.complete, first["type"]) == (200, True, "message-created")
    assert (error["error"]["code"], error["error"]["temporary"]) == ("database_unavailable", True)
    assert re.search(rb"\n\nretry: \d{4,5}\n\nevent: error\n", call.body)
    assert b"secret" not in call.body
    await idle(running)


async def test_the_database_fails_at_the_beginning(
    client: AsyncClient, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("secret")

    owner = await run_db(opened)
    monkeypatch.setattr(events_view, "resume", away)
    await within((call := Call(client, conversation_path(owner, "events/"), app=app))())
    (error,) = frames(call.body)
    assert (call.status, error["error"]["code"], error["error"]["temporary"]) == (200, "database_unavailable", True)
    polled = Call(client, conversation_path(owner, "events/"), app=app, accept="application/json")
    await within(polled())
    assert polled.status == 503


async def test_anything_else_that_fails_tells_no_secret(
    client: AsyncClient, app: Any, running: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("secret")

    generation = await run_db(answered)
    monkeypatch.setattr(readers, "read_page", broken)
    await within((call := Call(client, start_of(generation), app=app))())
    assert (call.complete, frames(call.body)[0]["error"]["code"]) == (True, "error")
    assert b"secret" not in call.body
    await idle(running)


async def test_a_deleted_conversation_ends_its_streams(client: AsyncClient, app: Any, running: Engine) -> None:
    owner = await run_db(opened)
    call = Call(client, conversation_path(owner, "events/"), app=app)
    async with opening(call) as task:
        await until(lambda: call.body)
        await run_db(Conversation.objects.filter(pk=owner.pk).delete)
        await asyncio.wait([task], timeout=PATIENCE)
        assert call.complete
    assert frames(call.body)[-1]["error"]["code"] == "not_found"
    await idle(running)
