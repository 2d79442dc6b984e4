"""Two server processes on one database: an answer that runs on one is followed and stopped on the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle

import pytest

from .api import Api, find, generation_of
from .clients import connect, ends, follow, poll, post_and_follow, read_aiohttp, read_httpx
from .conftest import CALM, Rig
from .events import text_of
from .history import History, Received, check, check_ids
from .servers import Database
from .sites.provider import answer, script

TOKENS = 30


@dataclass(frozen=True, slots=True)
class Pair:
    """One user at two servers of one site, and the site's database."""

    here: Api
    there: Api
    database: Database


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def pair(module_rig: Rig, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two uvicorn processes."""
    database = module_rig.database(request.param)
    servers = [module_rig.launch("uvicorn", database, llmstream=CALM) for _ in range(2)]
    here, there = (Api(server.wait_ready().url, database.accounts["alice"]) for server in servers)
    yield Pair(here, there, database)
    for server in servers:
        server.kill()


async def test_an_answer_is_followed_from_the_other_server(pair: Pair) -> None:
    sent = await pair.here.send(script(2 * TOKENS, 0.03))
    generation = pair.there.call(f"generations/{sent.generation}/events/")
    # The id of a delta, which is not the last one whatever the answer has come to meanwhile.
    beginning = History()
    await connect(
        read_aiohttp,
        generation.resumed(sent.last_event_id),
        beginning,
        until=lambda event: event.type == "text-delta" and len(beginning.text(sent.message)) >= 40,
    )
    middle = beginning.last_id
    conversation = pair.there.call(f"conversations/{sent.conversation}/events/")
    histories = await asyncio.gather(
        *(
            follow(read_aiohttp, call, last_event_id=start, until=ends(sent.generation))
            for call in (generation, conversation)
            for start in ("", sent.last_event_id, middle)
        ),
        poll(conversation, until=ends(sent.generation), last_event_id=sent.last_event_id),
        follow(read_httpx, pair.here.call(f"generations/{sent.generation}/events/"), last_event_id=sent.last_event_id),
    )
    stored = await pair.there.stored(sent.conversation, sent.message)
    assert text_of(stored) == answer(2 * TOKENS)
    assert await pair.here.stored(sent.conversation, sent.message) == stored
    for history in histories:
        if history.connections[0].sent == middle:
            check_ids(history)
            assert text_of(stored).endswith(history.text(sent.message))
        else:
            check(history, sent.generation, stored)


def has(history: History, count: int, event: Received) -> bool:
    """Whether so many events have come in all."""
    return len(list(history.events)) >= count


async def test_a_client_hops_between_the_servers(pair: Pair) -> None:
    """Every connection goes to the other server than the one before it."""
    sent = await pair.here.send(script(2_000, 0.03))
    history = History()
    servers = cycle([pair.there, pair.here])
    async with asyncio.timeout(30):
        while not history.terminals(sent.generation):
            call = next(servers).call(f"generations/{sent.generation}/events/")
            enough = len(list(history.events)) + 3
            await connect(
                read_aiohttp,
                call.resumed(history.last_id or sent.last_event_id),
                history,
                until=partial(has, history, enough),
            )
            if len(history.connections) == 4:
                await pair.here.stop(sent.generation)
    check(history, sent.generation, await pair.there.stored(sent.conversation, sent.message), status="stopped")


async def test_a_post_stream_goes_on_at_the_other_server(pair: Pair) -> None:
    conversation = await pair.here.conversation()
    post = pair.here.post_call(conversation, script(TOKENS, 0.02), client_id="hop")
    history = History()
    await connect(read_aiohttp, post, history, until=lambda event: event.type == "text-delta")
    generation = next(event.data["generation"] for event in history.events if event.type == "generation-start")
    call = pair.there.call(f"generations/{generation}/events/")
    await follow(read_aiohttp, call, history=history)
    state = await pair.there.settled(conversation)
    check(history, generation, state["messages"][1])


async def test_a_stop_on_the_other_server_ends_it(pair: Pair) -> None:
    sent = await pair.here.send(script(400, 0.03))
    call = pair.here.call(f"generations/{sent.generation}/events/")
    reading = asyncio.create_task(follow(read_aiohttp, call, last_event_id=sent.last_event_id))
    await pair.there.shown(sent, chars=20)
    stopped = await pair.there.stop(sent.generation)
    assert stopped["status"] == "stopped"
    history = await reading
    head = (await pair.there.state(sent.conversation))["last_event_id"]
    # The runner may not have heard of it yet; whatever it still writes is refused.
    second = await pair.here.send(script(8, 0.05), to=sent.conversation)
    state = await pair.here.settled(sent.conversation)
    assert text_of(find(state, second.message)) == answer(8)
    assert generation_of(state, sent.generation)["status"] == "stopped"
    check(history, sent.generation, find(state, sent.message), status="stopped")
    assert history.last_id == head, "nothing after the terminal event"
    assert answer(400).startswith(history.text(sent.message))


async def test_a_prompt_queued_on_the_other_server_gets_its_turn(pair: Pair) -> None:
    first = await pair.here.send(script(20, 0.02))
    second = await pair.there.send(script(6, 0.01), to=first.conversation, busy="queue")
    third = await pair.here.send(script(5, 0.01), to=first.conversation, busy="queue")
    state = await pair.here.settled(first.conversation)
    texts = [text_of(find(state, sent.message)) for sent in (first, second, third)]
    assert texts == [answer(20), answer(6), answer(5)]
    call = pair.there.call(f"conversations/{first.conversation}/events/")
    history = await follow(read_aiohttp, call, last_event_id=first.last_event_id, until=ends(third.generation))
    for sent in (first, second, third):
        check(history, sent.generation, find(state, sent.message))


async def test_one_of_two_simultaneous_prompts_is_turned_away(pair: Pair) -> None:
    conversation = await pair.here.conversation()
    path = f"conversations/{conversation}/messages/"
    responses = await asyncio.gather(
        *(api.request("POST", path, json={"content": script(2_000, 0.02)}) for api in (pair.here, pair.there) * 3)
    )
    assert sorted(response.status_code for response in responses) == [201, 409, 409, 409, 409, 409]
    running = next(response for response in responses if response.status_code == 201).json()["generation"]["id"]
    for response in responses:
        if response.status_code == 409:
            assert response.json()["error"]["code"] == "generation_in_progress"
            assert response.json()["generation"]["id"] == running
    await pair.here.stop(running)
    assert len((await pair.here.settled(conversation))["messages"]) == 2


async def test_the_same_prompt_sent_to_both_is_one_prompt(pair: Pair) -> None:
    conversation = await pair.here.conversation()
    path = f"conversations/{conversation}/messages/"
    body = {"content": script(5, 0.02), "client_id": "once"}
    responses = await asyncio.gather(*(api.request("POST", path, json=body) for api in (pair.here, pair.there) * 10))
    assert {response.status_code for response in responses} == {201}
    assert len({response.json()["generation"]["id"] for response in responses}) == 1
    assert len({response.json()["message"]["id"] for response in responses}) == 1
    assert len((await pair.there.settled(conversation))["messages"]) == 2


async def test_many_answers_on_both_servers_at_once(pair: Pair) -> None:
    """Each client posts to one server and reads on the other."""

    async def one(number: int) -> None:
        writer, reader = (pair.here, pair.there) if number % 2 else (pair.there, pair.here)
        sent = await writer.send(script(TOKENS, 0.02))
        call = reader.call(f"generations/{sent.generation}/events/")
        history = await follow(read_aiohttp, call, last_event_id=sent.last_event_id)
        check(history, sent.generation, await reader.stored(sent.conversation, sent.message))

    await asyncio.gather(*(one(number) for number in range(20)))


async def test_a_post_stream_repeated_at_the_other_server_is_the_same_answer(pair: Pair) -> None:
    conversation = await pair.here.conversation()
    posts = [api.post_call(conversation, script(TOKENS, 0.02), client_id="twin") for api in (pair.here, pair.there)]
    results = await asyncio.gather(
        *(
            post_and_follow(read_aiohttp, post, lambda found: pair.here.url(f"generations/{found}/events/"))
            for post in posts
        )
    )
    (generation,) = {generation for _, generation in results}
    state = await pair.here.settled(conversation)
    for history, _ in results:
        check(history, generation, state["messages"][1])
