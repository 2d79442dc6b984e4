"""Requests that are wrong, malicious, repeated or badly timed: a clear answer, and nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from .api import Api, error_code, find
from .clients import follow, http_client, read_aiohttp
from .conftest import QUICK, Rig
from .events import text_of
from .history import check
from .servers import Database, LiveServer
from .sites.provider import answer, script

SIZE_LIMIT = 262_144
PROMPT_LIMIT = 100_000


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def site(session_rig: Rig, request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """A server on each database, since databases differ in what they refuse."""
    server = session_rig.server("uvicorn", session_rig.database(request.param), llmstream=QUICK)
    yield server
    server.kill()


@pytest.fixture
def carol(site: LiveServer) -> Api:
    """A user."""
    return Api(site.url, site.database.accounts["alice"])


@pytest.fixture
def dave(site: LiveServer) -> Api:
    """Another user."""
    return Api(site.url, site.database.accounts["bob"])


def prompt(content: Any, **more: Any) -> dict[str, Any]:
    """A message body."""
    return {"content": content, **more}


BODIES: dict[str, tuple[Any, int, str]] = {
    "not json": (b"{", 400, "malformed_json"),
    "array": (b"[]", 400, "malformed_json"),
    "string": (b'"x"', 400, "malformed_json"),
    "null": (b"null", 400, "malformed_json"),
    "deep": (b"[" * 100_000, 400, "malformed_json"),
    "not utf-8": (b'{"content": "\xff"}', 400, "malformed_json"),
    "lone surrogate": (b'{"content": "\\ud800"}', 400, "malformed_json"),
    "nan": (b'{"content": NaN}', 400, "malformed_json"),
    "empty": (b"", 400, "invalid_request"),
    "no content": (b"{}", 400, "invalid_request"),
    "null content": (prompt(None), 400, "invalid_request"),
    "blank content": (prompt(" \n\t "), 400, "invalid_request"),
    "number": (prompt(5), 400, "invalid_request"),
    "list": (prompt(["a"]), 400, "invalid_request"),
    "nul": (prompt("a\0b"), 400, "invalid_request"),
    "unknown model": (prompt("x", model="gpt-none"), 400, "unknown_model"),
    "model of the wrong type": (prompt("x", model=7), 400, "invalid_request"),
    "unknown policy": (prompt("x", busy="fight"), 400, "invalid_request"),
    "unknown parent": (prompt("x", parent="A" * 22), 400, "invalid_request"),
    "client id of the wrong type": (prompt("x", client_id={}), 400, "invalid_request"),
    "long client id": (prompt("x", client_id="c" * 500), 413, "too_large"),
    "long prompt": (prompt("x" * (PROMPT_LIMIT + 1)), 413, "too_large"),
    "long body": (prompt("x" * SIZE_LIMIT), 413, "too_large"),
    "very long body": (prompt("x" * 4_000_000), 413, "too_large"),
}


async def test_bodies_that_cannot_be_used(carol: Api) -> None:
    conversation = await carol.conversation()
    path = f"conversations/{conversation}/messages/"
    before = await carol.state(conversation)
    for accept in ("application/json", "text/event-stream"):
        for name, (body, status, code) in BODIES.items():
            sent = {"content": body} if isinstance(body, bytes) else {"json": body}
            headers = {"Content-Type": "application/json", "Accept": accept}
            response = await carol.request("POST", path, headers=headers, **sent)
            assert error_code(response, status) == code, name
    assert await carol.state(conversation) == before, "nothing was kept"


async def test_bodies_of_other_types(carol: Api) -> None:
    path = f"conversations/{await carol.conversation()}/messages/"
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
    ):
        response = await carol.request("POST", path, headers={"Content-Type": kind}, content=b'{"content": "x"}')
        assert error_code(response, 415) == "unsupported_media_type", kind
    response = await carol.request(
        "POST", path, headers={"Content-Type": "Application/JSON; charset=utf-8"}, content=b'{"content": "x"}'
    )
    assert response.status_code == 201


async def test_a_body_of_unknown_length_is_limited_too(carol: Api) -> None:
    path = f"conversations/{await carol.conversation()}/messages/"

    async def pieces() -> Any:
        for _ in range(100):
            yield b"x" * 10_000

    response = await carol.request("POST", path, headers={"Content-Type": "application/json"}, content=pieces())
    assert error_code(response, 413) == "too_large"


async def test_prompts_at_the_limits_are_taken(carol: Api) -> None:
    for content in ("x" * PROMPT_LIMIT, "\ufeff", "日本🙂\u2028\x7f", "\\" * 1_000, "</script>\x1b[31m"):
        sent = await carol.send(content, client_id="i" * 64)
        state = await carol.settled(sent.conversation)
        assert text_of(state["messages"][0]) == content
        assert state["messages"][1]["status"] == "completed"


async def test_the_longest_client_id_that_is_taken_can_be_stored(carol: Api) -> None:
    conversation = await carol.conversation()
    path = f"conversations/{conversation}/messages/"
    for size in (64, 65, 128, 129):
        response = await carol.request("POST", path, json=prompt("x", client_id="k" * size, busy="queue"))
        assert response.status_code == 201 or error_code(response, 413) == "too_large", size
        response = await carol.request(
            "POST", path, json=prompt("x", busy="queue"), headers={"Idempotency-Key": "h" * size}
        )
        assert response.status_code == 201 or error_code(response, response.status_code) in {
            "too_large",
            "invalid_request",
        }
        assert response.status_code < 500, size


async def test_titles_and_models_of_conversations(carol: Api) -> None:
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"title": "t" * 201}, 413, "too_large"),
        ({"title": 5}, 400, "invalid_request"),
        ({"title": "a\0b"}, 400, "invalid_request"),
        ({"model": "none"}, 400, "unknown_model"),
        ({"model": "m" * 200}, 413, "too_large"),
    ]
    conversation = await carol.conversation(title="t" * 200, model="paced", unknown="is ignored")
    for body, status, code in cases:
        assert error_code(await carol.request("POST", "conversations/", json=body), status) == code
        response = await carol.request("PATCH", f"conversations/{conversation}/", json=body)
        assert error_code(response, status) == code
    assert (await carol.state(conversation))["title"] == "t" * 200


ROUTES: list[tuple[str, str]] = [
    ("GET", "conversations/{conversation}/"),
    ("PATCH", "conversations/{conversation}/"),
    ("DELETE", "conversations/{conversation}/"),
    ("POST", "conversations/{conversation}/messages/"),
    ("GET", "conversations/{conversation}/events/"),
    ("GET", "generations/{generation}/events/"),
    ("POST", "generations/{generation}/stop/"),
    ("POST", "generations/{generation}/retry/"),
    ("GET", "conversations/?before={conversation}"),
]


def bare(response: httpx.Response) -> tuple[int, bytes, set[str]]:
    """What an outsider can tell a response by."""
    return response.status_code, response.content, set(response.headers)


async def test_foreign_ids_look_like_unknown_ones_on_every_route(site: LiveServer, carol: Api, dave: Api) -> None:
    sent = await carol.send(script(2, 0))
    await carol.settled(sent.conversation)
    real = {"conversation": sent.conversation, "generation": sent.generation}
    made_up = {"conversation": "Z" * 22, "generation": "Z" * 22}
    for method, route in ROUTES:
        for accept in ("application/json", "text/event-stream"):
            options: dict[str, Any] = {} if method == "GET" else {"json": prompt("x", title="x")}
            headers = {"Accept": accept, "Last-Event-ID": sent.last_event_id}
            foreign = await dave.request(method, route.format(**real), headers=headers, **options)
            unknown = await dave.request(method, route.format(**made_up), headers=headers, **options)
            assert error_code(foreign, 404) == "not_found", route
            assert bare(foreign) == bare(unknown), route
    state = await carol.state(sent.conversation)
    assert len(state["messages"]) == 2
    assert state["title"] == ""
    assert (await dave.json("GET", "conversations/"))["conversations"] == []


def test_no_route_is_left_out() -> None:
    from llmstream.urls import urlpatterns  # noqa: PLC0415  needs Django's settings

    named = {str(pattern.pattern).replace("<str:", "{").replace(">", "}") for pattern in urlpatterns}
    assert named - {"conversations/"} == {route for _, route in ROUTES if "?" not in route}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_rubbish_ids_in_addresses(carol: Api, method: str) -> None:
    rubbish = [
        "x",
        "A" * 21,
        "A" * 23,
        "A" * 5_000,
        "%00",
        "%0a",
        "..",
        "%2e%2e%2f",
        "'%20OR%201=1--",
        "%F0%9F%99%82",
        "%ff",
    ]
    for name in rubbish:
        for route in (
            "conversations/{}/",
            "conversations/{}/messages/",
            "generations/{}/events/",
            "generations/{}/stop/",
        ):
            options = {"json": prompt("x")} if method == "POST" else {}
            response = await carol.request(method, route.format(name), **options)
            assert response.status_code in {404, 405}, (route, name, response.text[:300])


async def test_other_methods(carol: Api) -> None:
    conversation = await carol.conversation()
    for method, path, allowed in [
        ("PUT", "conversations/", "GET, POST"),
        ("DELETE", "conversations/", "GET, POST"),
        ("PUT", f"conversations/{conversation}/", "GET, PATCH, DELETE"),
        ("GET", f"conversations/{conversation}/messages/", "POST"),
        ("POST", f"conversations/{conversation}/events/", "GET"),
    ]:
        response = await carol.request(method, path)
        assert error_code(response, 405) == "method_not_allowed"
        assert response.headers["allow"] == allowed


@pytest.mark.parametrize("fault", ["no token", "wrong token", "no cookie", "foreign origin"])
async def test_commands_need_the_csrf_token(carol: Api, fault: str) -> None:
    sent = await carol.send(script(2, 0))
    await carol.settled(sent.conversation)
    before = await carol.state(sent.conversation)
    real = {"conversation": sent.conversation, "generation": sent.generation}
    for method, route in [("POST", "conversations/"), *ROUTES]:
        if method == "GET":
            continue
        headers, cookies = {"X-CSRFToken": carol.account.csrftoken}, dict(carol.account.cookies)
        match fault:
            case "no token":
                headers = {"X-CSRFToken": ""}
            case "wrong token":
                headers = {"X-CSRFToken": "f" * 32}
            case "no cookie":
                del cookies["csrftoken"]
            case "foreign origin":
                headers["Origin"] = "https://evil.example"
        response = await carol.request(
            method, route.format(**real), headers=headers, cookies=cookies, json=prompt("forged", title="forged")
        )
        assert error_code(response, 403) == "csrf_failed", route
    assert await carol.state(sent.conversation) == before


@pytest.mark.parametrize("by", ["client_id", "Idempotency-Key"])
async def test_one_prompt_sent_twenty_times_at_once(carol: Api, by: str) -> None:
    conversation = await carol.conversation()
    path = f"conversations/{conversation}/messages/"
    content = script(10, 0.02)
    body = prompt(content, client_id="twenty") if by == "client_id" else prompt(content)
    headers = {by: "twenty"} if by == "Idempotency-Key" else {}
    responses = await asyncio.gather(
        *(carol.request("POST", path, json=body, headers=headers) for _ in range(20)),
    )
    made = [response.json() for response in responses if response.status_code == 201]
    assert len(made) == 20, [response.text for response in responses if response.status_code != 201][:1]
    assert all(item["message"] == made[0]["message"] for item in made)
    assert all(item["urls"] == made[0]["urls"] for item in made)
    assert {item["generation"]["id"] for item in made} == {made[0]["generation"]["id"]}
    state = await carol.settled(conversation)
    assert [message["role"] for message in state["messages"]] == ["user", "assistant"]
    assert text_of(state["messages"][1]) == answer(10)
    other = await carol.request("POST", path, json={**body, "content": "something else"}, headers=headers)
    assert error_code(other, 409) == "idempotency_conflict"
    late = await carol.json("POST", path, status=201, json=body, headers=headers)
    assert late["generation"]["status"] == "completed"


async def test_a_busy_conversation_names_the_running_answer(carol: Api) -> None:
    sent = await carol.send(script(2_000, 0.02))
    path = f"conversations/{sent.conversation}/messages/"
    for accept in ("application/json", "text/event-stream"):
        response = await carol.request("POST", path, json=prompt("and?"), headers={"Accept": accept})
        body = response.json()
        assert response.status_code == 409
        assert body["error"]["code"] == "generation_in_progress"
        assert body["generation"]["id"] == sent.generation
    response = await carol.request("POST", f"generations/{sent.generation}/retry/")
    assert error_code(response, 409) == "generation_not_retryable"
    second = await carol.send(script(3, 0), to=sent.conversation, busy="interrupt")
    state = await carol.settled(sent.conversation)
    assert find(state, sent.message)["status"] == "stopped"
    assert text_of(find(state, second.message)) == answer(3)


async def test_a_client_that_hangs_up_while_its_prompt_is_taken(site: LiveServer, carol: Api) -> None:
    """Either nothing was sent or the answer is completed: a prompt that was stored is never orphaned."""
    draw = random.Random(11)

    async def one(number: int) -> str:
        conversation = await carol.conversation()
        call = carol.post_call(conversation, script(3, 0.01))
        request = httpx.Request(call.method, call.url, headers=call.all_headers(), json=call.json)
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(f"POST {request.url.path} HTTP/1.1\r\n{head}\r\n".encode() + request.content)
        await asyncio.sleep(draw.uniform(0, 0.06))
        writer.transport.abort() if number % 2 else writer.close()
        return conversation

    conversations = [conversation for _ in range(6) for conversation in await asyncio.gather(*map(one, range(8)))]
    taken = 0
    for conversation in conversations:
        state = await carol.settled(conversation)
        assert [item["status"] for item in state["generations"]] in ([], ["completed"]), state
        taken += bool(state["generations"])
    print(f"{taken} of {len(conversations)} prompts were taken")


async def test_a_deleted_conversation_ends_its_streams(carol: Api) -> None:
    sent = await carol.send(script(2_000, 0.02))
    call = carol.call(f"conversations/{sent.conversation}/events/")
    seen: list[str] = []

    async def read() -> None:
        async for event in read_aiohttp(call):
            seen.append(event.type)

    reading = asyncio.create_task(read())
    await carol.shown(sent)
    assert (await carol.request("DELETE", f"conversations/{sent.conversation}/")).status_code == 204
    async with asyncio.timeout(10):
        await reading
    assert seen[-1] in {"error", "message-end"}
    for path in (f"conversations/{sent.conversation}/events/", f"generations/{sent.generation}/events/"):
        response = await carol.request("GET", path, headers={"Accept": "text/event-stream"})
        assert error_code(response, 404) == "not_found"


@contextlib.contextmanager
def locked(database: Database) -> Iterator[None]:
    """Hold SQLite's write lock, as another program that writes would."""
    file = database.url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(file, timeout=20, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@pytest.mark.parametrize("settings", ["base", "impatient"])
async def test_a_locked_database_delays_but_loses_nothing(rig: Rig, settings: str) -> None:
    """With patience a POST waits; without it is told to come back. Running answers go on either way."""
    server = rig.server("uvicorn", settings=f"tests.live.sites.{settings}", llmstream={"LEASE": 30.0})
    alice = Api(server.url, server.database.accounts["alice"])
    sent = await alice.send(script(100, 0.02))
    call = alice.call(f"generations/{sent.generation}/events/")
    reading = asyncio.create_task(follow(read_aiohttp, call, last_event_id=sent.last_event_id))
    other = await alice.conversation()
    await alice.shown(sent, chars=50)
    path = f"conversations/{other}/messages/"
    with locked(server.database):
        posting = asyncio.create_task(alice.request("POST", path, json=prompt(script(4, 0), client_id="once")))
        # Readers are not in the way of a writer.
        assert (await alice.state(sent.conversation))["messages"]
        await asyncio.wait([posting], timeout=2.5)
        assert posting.done() == (settings == "impatient")
    response = await posting
    if settings == "impatient":
        assert error_code(response, 503) == "database_unavailable"
        assert response.json()["error"]["temporary"]
        assert int(response.headers["retry-after"]) >= 1
        response = await alice.request("POST", path, json=prompt(script(4, 0), client_id="once"))
    assert response.status_code == 201
    history = await reading
    check(history, sent.generation, await alice.stored(sent.conversation, sent.message))
    state = await alice.settled(other)
    assert text_of(state["messages"][1]) == answer(4)
    assert len(state["messages"]) == 2


async def test_an_unknown_host_or_address_does_not_break_the_server(carol: Api) -> None:
    async with http_client() as client:
        assert (await client.get(carol.base + "/llmstream/nothing/")).status_code == 404
        assert (await client.get(carol.base + "/llmstream/conversations")).status_code in {301, 404}
    assert await carol.conversation()
