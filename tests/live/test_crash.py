"""Servers that die: what was shown stays shown, and the answer comes to an end that everybody sees."""

from __future__ import annotations

import asyncio
import random

import pytest

from .api import Api, find
from .clients import connect, ends, follow, poll, read_aiohttp
from .conftest import QUICK, WIRINGS, Rig
from .events import text_of
from .history import History, check
from .sites.provider import answer, script

LEASE = QUICK["LEASE"]
#: From the server's return (or its neighbour's notice) to the end of the abandoned answer, on a machine that may pause.
ENDS_WITHIN = LEASE + 20


async def stopwatch(history: History, reading: asyncio.Task[History]) -> float:
    """Wait for a reader to finish; return the seconds it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await reading is history
    return loop.time() - started


async def seen(history: History, message: str, chars: int) -> str:
    """Wait until a reader has seen so much of an answer; return what it has seen."""
    async with asyncio.timeout(20):
        while True:
            if len(text := history.text(message)) >= chars:
                return text
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("kind", "database"), [*((kind, "sqlite") for kind in WIRINGS), ("uvicorn", "postgres")], ids=lambda value: value
)
async def test_kill_9_and_restart(rig: Rig, kind: str, database: str) -> None:
    server = rig.server(kind, rig.database(database), llmstream=QUICK)
    alice = Api(server.url, server.database.accounts["alice"])
    sent = await alice.send(script(2_000, 0.02))
    call = alice.call(f"generations/{sent.generation}/events/")
    history, late = History(), History()
    reading = asyncio.create_task(follow(read_aiohttp, call, last_event_id=sent.last_event_id, history=history))
    polling = asyncio.create_task(
        poll(
            alice.call(f"conversations/{sent.conversation}/events/"),
            until=ends(sent.generation),
            last_event_id=sent.last_event_id,
        )
    )
    await seen(history, sent.message, 100)
    server.kill()
    shown = history.text(sent.message)
    server.start().wait_ready()
    assert await stopwatch(history, reading) < ENDS_WITHIN
    state = await alice.settled(sent.conversation)
    stored = find(state, sent.message)
    assert text_of(stored).startswith(shown), "an event that was seen is gone"
    assert answer(2_000).startswith(text_of(stored))
    for client in (history, await polling, await follow(read_aiohttp, call, history=late)):
        check(client, sent.generation, stored, status="interrupted")
    again = await alice.json("POST", f"generations/{sent.generation}/retry/", status=201)
    assert again["generation"]["attempt"] == 2
    await alice.stop(again["generation"]["id"])


async def test_the_neighbour_of_a_killed_server_ends_its_answers(rig: Rig) -> None:
    database = rig.database()
    doomed, other = rig.launch("uvicorn", database, llmstream=QUICK), rig.launch("uvicorn", database, llmstream=QUICK)
    alice = Api(doomed.wait_ready().url, database.accounts["alice"])
    there = alice.at(other.wait_ready().url)
    prompts = [await alice.send(script(2_000, 0.02)) for _ in range(3)]
    histories = [History() for _ in prompts]
    readings = [
        asyncio.create_task(
            follow(
                read_aiohttp,
                there.call(f"generations/{sent.generation}/events/"),
                last_event_id=sent.last_event_id,
                history=history,
            )
        )
        for sent, history in zip(prompts, histories, strict=True)
    ]
    for sent, history in zip(prompts, histories, strict=True):
        await seen(history, sent.message, 30)
    doomed.kill()
    for sent, history, reading in zip(prompts, histories, readings, strict=True):
        assert await stopwatch(history, reading) < ENDS_WITHIN
        check(history, sent.generation, await there.stored(sent.conversation, sent.message), status="interrupted")
        assert len(history.connections) == 2, "the reader's stream was not cut"


async def test_an_abandoned_conversation_takes_prompts_again_without_any_reader(rig: Rig) -> None:
    """Nobody has a stream open after the restart; the lapsed answer must not block the conversation for ever."""
    server = rig.server("uvicorn", llmstream=QUICK)
    alice = Api(server.url, server.database.accounts["alice"])
    sent = await alice.send(script(2_000, 0.02))
    await alice.shown(sent)
    server.kill()
    server.start().wait_ready()
    path = f"conversations/{sent.conversation}/messages/"
    async with asyncio.timeout(ENDS_WITHIN):
        while (response := await alice.request("POST", path, json={"content": script(4, 0)})).status_code == 409:
            await asyncio.sleep(0.2)
    assert response.status_code == 201
    state = await alice.settled(sent.conversation)
    assert find(state, sent.message)["status"] == "interrupted"
    assert text_of(find(state, response.json()["generation"]["message"])) == answer(4)


async def test_killed_again_and_again(rig: Rig) -> None:
    """A client and a conversation that live through several deaths at random moments."""
    server = rig.server("uvicorn", llmstream=QUICK)
    alice = Api(server.url, server.database.accounts["alice"])
    conversation = await alice.conversation()
    start = (await alice.state(conversation))["last_event_id"]
    draw = random.Random(7)
    history, prompts = History(), []
    for _ in range(3):
        sent = await alice.send(script(2_000, 0.005), to=conversation, busy="queue")
        prompts.append(sent)
        call = alice.call(f"conversations/{conversation}/events/")
        reading = asyncio.create_task(
            follow(read_aiohttp, call, last_event_id=start, history=history, until=ends(sent.generation))
        )
        await alice.shown(sent)  # what nobody has seen would be written anew, and not be interrupted
        await asyncio.sleep(draw.uniform(0.05, 0.4))
        server.kill()
        server.start().wait_ready()
        await reading
    state = await alice.settled(conversation)
    for sent in prompts:
        check(history, sent.generation, find(state, sent.message), status="interrupted")


@pytest.mark.parametrize("kind", WIRINGS)
async def test_sigterm_ends_a_server_with_open_streams_and_a_running_answer(rig: Rig, kind: str) -> None:
    server = rig.server(kind, llmstream=QUICK)
    alice = Api(server.url, server.database.accounts["alice"])
    sent = await alice.send(script(2_000, 0.02))
    idle = await alice.conversation()
    call = alice.call(f"generations/{sent.generation}/events/")
    history = History()
    reading = asyncio.create_task(follow(read_aiohttp, call, last_event_id=sent.last_event_id, history=history))
    idling = asyncio.create_task(
        connect(read_aiohttp, alice.call(f"conversations/{idle}/events/"), History(), until=lambda _: False)
    )
    await seen(history, sent.message, 60)
    took = await asyncio.to_thread(server.terminate, 10)
    assert took < 10
    assert (await idling).ended
    server.start().wait_ready()
    await reading
    status = history.terminals(sent.generation)[0].data["status"]
    assert status in {"interrupted", "stopped", "failed"}
    check(history, sent.generation, await alice.stored(sent.conversation, sent.message), status=status)


@pytest.mark.parametrize("kind", WIRINGS)
async def test_an_idle_server_ends_at_sigterm(rig: Rig, kind: str) -> None:
    server = rig.server(kind)
    alice = Api(server.url, server.database.accounts["alice"])
    sent = await alice.send("hello")
    await alice.settled(sent.conversation)
    assert await asyncio.to_thread(server.terminate, 5) < 5
