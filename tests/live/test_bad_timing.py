"""Requests that are repeated, come at a bad moment, or are given up half-way: nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Iterator

import httpx
import pytest

from .api import Api, error_code, find, prompt
from .clients import PATIENCE, follow, read_aiohttp, wait_until
from .conftest import Rig
from .events import text_of
from .history import check
from .servers import Database
from .sites.provider import answer, script


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


async def test_a_client_that_hangs_up_while_its_prompt_is_taken(carol: Api) -> None:
    """Either nothing was sent or the answer is completed: a prompt that was stored is never orphaned."""
    draw = random.Random(11)

    async def one(number: int) -> str:
        conversation = await carol.conversation()
        call = carol.post_call(conversation, script(3, 0.01))
        request = httpx.Request(call.method, call.url, headers=call.all_headers(), json=call.json)
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(carol.base).port)
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
    await wait_until(lambda: seen)
    assert (await carol.request("DELETE", f"conversations/{sent.conversation}/")).status_code == 204
    async with asyncio.timeout(PATIENCE):
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
        await asyncio.wait([posting], timeout=PATIENCE if settings == "impatient" else 2.5)
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
