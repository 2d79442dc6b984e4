"""Every row of the resume table: whatever a client comes with, it converges on the stored state."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from .api import Api, Sent, error_code, generation_of
from .clients import PATIENCE, Call, connect, ends, follow, http_client, never, poll, read_aiohttp, wait_until
from .events import EventStreamParser
from .history import Connection, History, Received, check, check_ids, position
from .servers import LiveServer
from .sites.provider import answer, script

TOKENS = 12


async def finished(api: Api) -> Sent:
    """A prompt whose answer has ended."""
    sent = await api.send(script(TOKENS, 0.001))
    await api.settled(sent.conversation)
    return sent


def generation_events(api: Api, sent: Sent) -> Call:
    """The address of a generation's stream."""
    return api.call(f"generations/{sent.generation}/events/")


def conversation_events(api: Api, sent: Sent) -> Call:
    """The address of a conversation's stream."""
    return api.call(f"conversations/{sent.conversation}/events/")


async def first(call: Call, count: int = 1) -> Connection:
    """Read the first events of a stream and leave."""
    history = History()
    return await connect(read_aiohttp, call, history, until=lambda _: len(history.connections[0].events) == count)


async def silent(call: Call, seconds: float = 0.4) -> Connection:
    """Follow a stream on which nothing is expected for a while."""
    history = History()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await connect(read_aiohttp, call, history, until=never)
    return history.connections[0]


async def test_nothing_gets_a_snapshot_then_live_events(server: LiveServer, alice: Api) -> None:
    sent = await alice.send(script(2_000, 0.03))
    calls, histories = (generation_events(alice, sent), conversation_events(alice, sent)), (History(), History())
    reading = [
        asyncio.create_task(follow(read_aiohttp, call, history=history, until=ends(sent.generation)))
        for call, history in zip(calls, histories, strict=True)
    ]
    await wait_until(lambda: all("text-delta" in history.types for history in histories))
    await alice.stop(sent.generation)
    for history in await asyncio.gather(*reading):
        assert history.types[0] == "snapshot"
        assert history.types[-1] == "message-end"
        snapshot = next(history.events)
        assert snapshot.id == snapshot.data["last_event_id"]
        check(history, sent.generation, await alice.stored(sent.conversation, sent.message), status="stopped")


async def test_behind_gets_exactly_what_follows(server: LiveServer, alice: Api) -> None:
    sent = await alice.send(script(TOKENS, 0.01))
    whole = await follow(read_aiohttp, generation_events(alice, sent), last_event_id=sent.last_event_id)
    assert whole.types[:3] == ["message-created", "message-created", "generation-start"]
    stored = await alice.stored(sent.conversation, sent.message)
    check(whole, sent.generation, stored)
    events = list(whole.events)
    for index, event in enumerate(events[:-1]):
        later = await follow(read_aiohttp, generation_events(alice, sent), last_event_id=event.id)
        assert "snapshot" not in later.types
        assert position(next(later.events).id)[2] > position(event.id)[2]
        joined = History([Connection("", 200, events[: index + 1], "cut"), *later.connections])
        check(joined, sent.generation, stored)


async def test_the_head_gets_only_what_is_new(server: LiveServer, alice: Api) -> None:
    sent = await finished(alice)
    head = (await alice.state(sent.conversation))["last_event_id"]
    call = conversation_events(alice, sent).resumed(head)
    assert (await silent(call)).events == []
    history = History()
    task = asyncio.create_task(connect(read_aiohttp, call, history, until=lambda e: e.type == "message-end"))
    second = await alice.send(script(3, 0), to=sent.conversation)
    async with asyncio.timeout(PATIENCE):
        await task
    assert {event.data.get("generation") for event in history.events} == {second.generation}
    check_ids(history)


async def test_the_terminal_id_gets_204(server: LiveServer, alice: Api) -> None:
    sent = await finished(alice)
    end = (await alice.state(sent.conversation))["last_event_id"]
    url = alice.url(f"generations/{sent.generation}/events/")
    async with http_client(cookies=alice.account.cookies) as client:
        by_header = await client.get(url, headers={"Last-Event-ID": end})
        by_query = await client.get(url, params={"last_event_id": end})
        behind = await client.get(url, headers={"Last-Event-ID": sent.last_event_id}, params={"last_event_id": end})
    assert (by_header.status_code, by_header.content) == (204, b"")
    assert by_query.status_code == 204
    assert behind.status_code == 200, "the header wins"
    # An id past the generation's end, from a later answer, is past it too.
    later = await alice.send(script(2, 0), to=sent.conversation)
    beyond = (await alice.settled(later.conversation))["last_event_id"]
    connection = await first(generation_events(alice, sent).resumed(beyond))
    assert connection.status == 204


async def test_the_header_wins_over_the_query(server: LiveServer, alice: Api) -> None:
    sent = await finished(alice)
    head = (await alice.state(sent.conversation))["last_event_id"]
    call = alice.call(f"conversations/{sent.conversation}/events/?last_event_id={sent.last_event_id}")
    assert (await silent(call.resumed(head))).events == []
    assert (await first(call)).events[0].type == "message-created"
    call = alice.call(f"conversations/{sent.conversation}/events/?last_event_id={head}")
    assert (await first(call.resumed(sent.last_event_id))).events[0].type == "message-created"
    rubbish = await first(call.resumed("rubbish"))
    assert [event.type for event in rubbish.events] == ["reset"]


async def test_an_empty_id_is_none(server: LiveServer, alice: Api) -> None:
    sent = await finished(alice)
    url = alice.url(f"generations/{sent.generation}/events/")
    fresh = await whole_body(alice, url)
    assert fresh.types[0] == "snapshot"
    for options in ({"headers": {"Last-Event-ID": ""}}, {"params": {"last_event_id": ""}}):
        assert list((await whole_body(alice, url, **options)).events) == list(fresh.events)
    query = {"headers": {"Last-Event-ID": ""}, "params": {"last_event_id": sent.last_event_id}}
    assert (await whole_body(alice, url, **query)).types[0] == "message-created"


def shifted(event_id: str, *, epoch: int = 0, seq: int = 0, conversation: str = "") -> str:
    """Another id in the same form."""
    own, age, number = position(event_id)
    return f"{conversation or own}.{int(age) + epoch}.{number + seq:012d}"


UNUSABLE: dict[str, tuple[Any, str]] = {
    "ahead": (lambda head: shifted(head, seq=1_000), "ahead"),
    "far ahead": (lambda head: shifted(head, seq=10**11), "ahead"),
    "epoch": (lambda head: shifted(head, epoch=1), "epoch"),
    "unknown conversation": (lambda head: shifted(head, conversation="A" * 22), "mismatch"),
    "word": (lambda head: "rubbish", "malformed"),
    "long": (lambda head: "x" * 10_000, "malformed"),
    "long of the right form": (lambda head: head + "0" * 100, "malformed"),
    "utf-8": (lambda head: "日本🙂", "malformed"),
    "negative": (lambda head: head[: head.rindex(".") + 1] + "-00000000001", "malformed"),
    "2^64": (lambda head: head[: head.rindex(".") + 1] + str(2**64), "malformed"),
    "digits of another script": (lambda head: head[: head.rindex(".") + 1] + "٠" * 12, "malformed"),
    "only dots": (lambda head: "..", "malformed"),
    "quotes": (lambda head: "' OR 1=1 --", "malformed"),
}
# These cannot stand in a header.
QUERY_ONLY: dict[str, tuple[Any, str]] = {
    "nul": (lambda head: "a\0b", "malformed"),
    "crlf": (lambda head: "a\r\nid: b", "malformed"),
    "newline behind a good one": (lambda head: head + "\n", "malformed"),
}


async def check_unusable(api: Api, sent: Sent, value: str, reason: str, *, header: bool) -> None:
    """Come to both streams of an answer with this id: a reset that says why, a snapshot, and all of the answer."""
    urls = [api.url(f"generations/{sent.generation}/events/"), api.url(f"conversations/{sent.conversation}/events/")]
    options = {"params": {"last_event_id": value}}
    own = [await whole_body(api, urls[0], **options)]
    if header:
        own.append(await whole_body(api, urls[0], headers={"Last-Event-ID": value.encode()}))
    call = Call(str(httpx.URL(urls[1], **options)), cookies=api.account.cookies)
    shared = await follow(read_aiohttp, call, until=ends(sent.generation))
    stored = await api.stored(sent.conversation, sent.message)
    for history in [*own, shared]:
        assert history.types[:2] == ["reset", "snapshot"], value
        assert next(history.events).data["reason"] == reason, value
        check(history, sent.generation, stored)


@pytest.mark.parametrize("state", ["live", "ended"])
async def test_an_unusable_id_gets_a_reset_and_converges(uvicorn: LiveServer, state: str) -> None:
    alice = Api(uvicorn.url, uvicorn.database.accounts["alice"])
    sent = await alice.send(script(60, 0.02)) if state == "live" else await finished(alice)
    head = (await alice.state(sent.conversation))["last_event_id"]
    cases = [
        check_unusable(alice, sent, make(head), reason, header=name in UNUSABLE)
        for name, (make, reason) in {**UNUSABLE, **QUERY_ONLY}.items()
    ]
    await asyncio.gather(*cases)


async def whole_body(api: Api, url: str, **options: Any) -> History:
    """Read a stream to its end in one request, with whatever bytes the test puts into it."""
    async with http_client(cookies=api.account.cookies, timeout=30) as client:
        response = await client.get(url, **options)
    assert response.status_code == 200, response.text
    return history_of(response.content)


def history_of(body: bytes) -> History:
    """The history of a client that read this body."""
    frames = EventStreamParser().feed(body)
    events = [Received(frame.id if frame.own_id else "", frame.type, json.loads(frame.data)) for frame in frames]
    return History([Connection("", 200, events, "end")])


async def test_an_id_of_another_conversation_tells_nothing(server: LiveServer, alice: Api, bob: Api) -> None:
    """Own, foreign, or made up: the same events come back."""
    sent, other = await finished(alice), await finished(alice)
    foreign = await finished(bob)
    ids = {
        "own": other.last_event_id,
        "foreign": foreign.last_event_id,
        "made up": shifted(other.last_event_id, conversation="B" * 22),
    }
    url = alice.url(f"generations/{sent.generation}/events/")
    histories = {name: await whole_body(alice, url, headers={"Last-Event-ID": found}) for name, found in ids.items()}
    first_history = histories["own"]
    for history in histories.values():
        assert list(history.events) == list(first_history.events)
        assert next(history.events).data == {"type": "reset", "reason": "mismatch"}
    assert answer(TOKENS) == first_history.text(sent.message)


@pytest.mark.parametrize("kind", ["generation", "conversation"])
async def test_a_foreign_stream_looks_like_an_unknown_one(server: LiveServer, alice: Api, bob: Api, kind: str) -> None:
    sent = await finished(alice)
    known = sent.generation if kind == "generation" else sent.conversation
    headers = {"Accept": "text/event-stream", "Last-Event-ID": sent.last_event_id}
    foreign = await bob.request("GET", f"{kind}s/{known}/events/", headers=headers)
    unknown = await bob.request("GET", f"{kind}s/{'C' * 22}/events/", headers=headers)
    assert error_code(foreign, 404) == "not_found"
    assert (foreign.status_code, foreign.content) == (unknown.status_code, unknown.content)
    assert set(foreign.headers) == set(unknown.headers)


async def test_long_poll_resumes_by_the_same_table(server: LiveServer, alice: Api) -> None:
    sent = await alice.send(script(TOKENS, 0.02))
    call = conversation_events(alice, sent)
    histories = [
        await poll(call, until=ends(sent.generation), last_event_id=start)
        for start in (sent.last_event_id, "", "rubbish", shifted(sent.last_event_id, epoch=1))
    ]
    stored = await alice.stored(sent.conversation, sent.message)
    for history in histories:
        check(history, sent.generation, stored)
    assert histories[2].types[:2] == ["reset", "snapshot"]


async def test_long_poll_at_the_head_waits_and_comes_back_empty(server: LiveServer, alice: Api) -> None:
    sent = await finished(alice)
    head = (await alice.state(sent.conversation))["last_event_id"]
    path = f"conversations/{sent.conversation}/events/"
    loop = asyncio.get_running_loop()
    started = loop.time()
    page = await alice.json("GET", path, params={"after": head, "wait": "0.5"}, headers={"Accept": "application/json"})
    assert loop.time() - started >= 0.5
    assert page["events"] == []
    assert page["last_event_id"] == head
    for wait in ("nan", "-1", "1e400", "x"):
        response = await alice.request(
            "GET", path, params={"after": sent.last_event_id, "wait": wait}, headers={"Accept": "application/json"}
        )
        assert response.status_code == 200 or error_code(response, 400) == "invalid_request"


async def test_state_and_streams_agree_while_it_runs(server: LiveServer, alice: Api) -> None:
    """REST first, then the stream from REST's position: nothing is missing in between."""
    sent = await alice.send(script(2_000, 0.03))
    state = await alice.shown(sent)
    assert generation_of(state, sent.generation)["status"] == "running"
    shown = state["messages"][1]["parts"][0]["text"]
    history = History()
    call = generation_events(alice, sent)
    reading = asyncio.create_task(follow(read_aiohttp, call, last_event_id=state["last_event_id"], history=history))
    await wait_until(lambda: history.text(sent.message))
    await alice.stop(sent.generation)
    await reading
    stored = await alice.stored(sent.conversation, sent.message)
    assert shown + history.text(sent.message) == stored["parts"][0]["text"]
    check_ids(history)
