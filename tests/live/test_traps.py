"""What existing sites have switched on, each with a real server: everything works all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from .api import Api, error_code, find, generation_of
from .clients import (
    LIVE_READERS,
    PATIENCE,
    READERS,
    Reader,
    ends,
    follow,
    http_client,
    poll,
    post_and_follow,
    read_aiohttp,
)
from .conftest import QUICK, Rig
from .events import check_framing, text_of
from .history import check
from .servers import Account, LiveServer
from .sites.provider import answer, script

TOKENS = 20
SITES = ("atomic_requests", "login_required", "gzipped", "csp", "conn_max_age", "sync_middleware")
#: Both ways to stream for each site, and the other server where its way of writing matters.
CASES = [*((site, kind) for site in SITES for kind in ("uvicorn", "uvicorn-plain")), ("gzipped", "daphne")]
NOBODY = Account("nobody", "", "")


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def site(module_rig: Rig, request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """Each existing site on each server."""
    name, kind = request.param
    server = module_rig.server(kind, settings=f"tests.live.sites.{name}", llmstream=QUICK)
    yield server
    server.kill()


@pytest.fixture
def erin(site: LiveServer) -> Api:
    """A user of the existing site."""
    return Api(site.url, site.database.accounts["alice"])


async def arrives(reader: Reader, api: Api) -> None:
    """Stream an answer in its POST, of which something comes long before its end: stop it then, and read to the end."""
    conversation = await api.conversation()
    call = api.call(
        f"conversations/{conversation}/messages/",
        method="POST",
        headers={**api.account.headers, "Accept-Encoding": "gzip, deflate, br"},
        # What is held back comes only after the reader's patience: no more than a few kilobytes are made until then.
        json={"content": script(60, 1.0)},
    )
    deltas, statuses = 0, []
    async with asyncio.timeout(PATIENCE):
        async for event in reader(call):
            if event.type == "text-delta":
                deltas += 1
                if deltas == 2:
                    await api.stop(event.data["generation"])
            elif event.type == "message-end":
                statuses.append(event.data["status"])
    assert statuses == ["stopped"]


async def test_streams_arrive_as_they_are_made(erin: Api) -> None:
    await asyncio.gather(*(arrives(reader, erin) for reader in LIVE_READERS.values()))


async def test_every_call_works(erin: Api) -> None:
    conversation = await erin.conversation(title="trap")
    assert (await erin.json("PATCH", f"conversations/{conversation}/", json={"title": "sprung"}))["title"] == "sprung"
    sent = await erin.send(script(TOKENS, 0.01), to=conversation)
    generation = erin.call(f"generations/{sent.generation}/events/", headers={"Accept-Encoding": "gzip"})
    shared = erin.call(f"conversations/{conversation}/events/", headers={"Accept-Encoding": "gzip"})
    histories = await asyncio.gather(
        *(follow(reader, generation, last_event_id=sent.last_event_id) for reader in READERS.values()),
        *(
            follow(reader, shared, last_event_id=sent.last_event_id, until=ends(sent.generation))
            for reader in LIVE_READERS.values()
        ),
        poll(shared, until=ends(sent.generation), last_event_id=sent.last_event_id),
    )
    stored = await erin.stored(conversation, sent.message)
    assert text_of(stored) == answer(TOKENS)
    for history in histories:
        check(history, sent.generation, stored)
    post = erin.post_call(conversation, script(5, 0.01))
    history, found = await post_and_follow(read_aiohttp, post, lambda made: erin.url(f"generations/{made}/events/"))
    state = await erin.settled(conversation)
    check(history, found, state["messages"][-1])
    long = await erin.send(script(2_000, 0.02), to=conversation)
    await erin.shown(long)
    assert (await erin.stop(long.generation))["status"] == "stopped"
    again = await erin.json("POST", f"generations/{long.generation}/retry/", status=201)
    await erin.stop(again["generation"]["id"])
    state = await erin.settled(conversation)
    assert generation_of(state, again["generation"]["id"])["attempt"] == 2
    listed = await erin.json("GET", "conversations/", headers={"Accept-Encoding": "gzip"})
    assert conversation in [item["id"] for item in listed["conversations"]]
    assert (await erin.request("DELETE", f"conversations/{conversation}/")).status_code == 204
    assert error_code(await erin.request("GET", f"conversations/{conversation}/"), 404) == "not_found"


async def test_a_stream_is_plain_text_on_the_wire(erin: Api) -> None:
    sent = await erin.send(script(TOKENS, 0.005))
    async with (
        http_client(cookies=erin.account.cookies) as client,
        client.stream(
            "GET", erin.base + sent.urls["events"], headers={"Accept-Encoding": "gzip", "Accept": "text/event-stream"}
        ) as response,
    ):
        body = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers.get("content-encoding", "identity") == "identity"
    assert "no-transform" in response.headers["cache-control"]
    assert response.headers["x-accel-buffering"] == "no"
    check_framing(body)


async def test_the_trap_is_set(site: LiveServer, erin: Api) -> None:
    """The site's own middleware does act on our responses, streams included."""
    sent = await erin.send(script(TOKENS, 0))
    await erin.settled(sent.conversation)
    name = site.settings.rpartition(".")[2]
    gzip = {"Accept-Encoding": "gzip"}
    state = await erin.request("GET", f"conversations/{sent.conversation}/", headers=gzip)
    assert (state.headers.get("content-encoding") == "gzip") == (name == "gzipped")
    stream = await erin.request("GET", sent.urls["events"], headers={**gzip, "Accept": "text/event-stream"})
    for response in (state, stream):
        assert ("content-security-policy" in response.headers) == (name == "csp")
        assert ("x-sync-middleware" in response.headers) == (name in {"sync_middleware", "conn_max_age"})


async def test_visitors_get_json_and_no_redirect(site: LiveServer, erin: Api) -> None:
    sent = await erin.send(script(2, 0))
    nobody = Api(site.url, NOBODY)
    calls = [
        ("GET", "conversations/"),
        ("POST", "conversations/"),
        *((method, f"conversations/{sent.conversation}/") for method in ("GET", "PATCH", "DELETE")),
        ("POST", f"conversations/{sent.conversation}/messages/"),
        ("GET", f"conversations/{sent.conversation}/events/"),
        ("GET", f"generations/{sent.generation}/events/"),
        ("POST", f"generations/{sent.generation}/stop/"),
        ("POST", f"generations/{sent.generation}/retry/"),
    ]
    token = erin.account.csrftoken
    for method, path in calls:
        options = {} if method == "GET" else {"json": {"content": "x"}}
        response = await nobody.request(
            method, path, cookies={"csrftoken": token}, headers={"X-CSRFToken": token}, **options
        )
        assert error_code(response, 401) == "not_authenticated", (method, path)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("wsgiref", "base"), *(("wsgiref-threads", name) for name in ("base", "atomic_requests", "login_required"))],
)
async def test_wsgi_does_all_but_stream(rig: Rig, kind: str, settings: str) -> None:
    server = rig.server(kind, settings=f"tests.live.sites.{settings}", llmstream=QUICK)
    alice = Api(server.url, server.database.accounts["alice"])
    conversation = await alice.conversation()
    sent = await alice.send(script(TOKENS, 0.01), to=conversation)
    queued = await alice.send(script(3, 0.01), to=conversation, busy="queue")
    history = await poll(
        alice.call(f"conversations/{conversation}/events/"),
        until=ends(queued.generation),
        last_event_id=sent.last_event_id,
    )
    state = await alice.settled(conversation)
    check(history, sent.generation, find(state, sent.message))
    check(history, queued.generation, find(state, queued.message))
    assert text_of(find(state, sent.message)) == answer(TOKENS)
    stream = {"Accept": "text/event-stream"}
    refused = [
        await alice.request("GET", f"conversations/{conversation}/events/", headers=stream),
        await alice.request("GET", f"generations/{sent.generation}/events/", headers=stream),
        await alice.request(
            "POST", f"conversations/{conversation}/messages/", headers=stream, json={"content": "not kept"}
        ),
        await alice.request("POST", f"generations/{sent.generation}/retry/", headers=stream),
    ]
    for response in refused:
        assert error_code(response, 501) == "streaming_unavailable"
    assert len((await alice.state(conversation))["messages"]) == 4, "a refused request leaves nothing behind"
    long = await alice.send(script(2_000, 0.02), to=conversation)
    await alice.shown(long)
    assert (await alice.stop(long.generation))["status"] == "stopped"
    again = await alice.json("POST", f"generations/{long.generation}/retry/", status=201)
    await alice.stop(again["generation"]["id"])
    assert (await alice.request("DELETE", f"conversations/{conversation}/")).status_code == 204
