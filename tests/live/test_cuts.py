"""Connections cut at every event and at many bytes: nobody loses a character or gets one twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable
from typing import Any
from urllib.parse import urlsplit

import pytest

from .api import Api, Sent
from .clients import LIVE_READERS, READERS, Reader, ends, follow, http_client, poll, post_and_follow
from .events import EventStreamParser, check_framing
from .history import check
from .proxy import Cut, FaultProxy
from .servers import LiveServer
from .sites.provider import answer, script

#: What lies between them and the log is the same for the third wiring, which the tests of resuming have.
pytestmark = pytest.mark.parametrize("server", ["uvicorn", "daphne"], indirect=True)

TOKENS = 24
#: Any fixed number: what matters is that a failure can be repeated.
SEED = 20_261_121


async def checked(api: Api, sent: Sent, clients: Iterable[Coroutine[Any, Any, Any]], *, tokens: int = TOKENS) -> None:
    """Run the clients together and check each one's history."""
    histories = await asyncio.gather(*clients)
    stored = await api.stored(sent.conversation, sent.message)
    assert stored["parts"] == [{"type": "text", "text": answer(tokens)}]
    for history in histories:
        check(history, sent.generation, stored)


async def cut_generation(api: Api, sent: Sent, reader: Reader, cut: Cut, start: str) -> Any:
    """Follow the generation through one cut, and stop where an EventSource stops."""
    async with FaultProxy(urlsplit(api.base).port or 0, [cut]) as proxy:
        call = api.at(proxy.url).call(f"generations/{sent.generation}/events/")
        history = await follow(reader, call, last_event_id=start)
        assert history.connections[-1].status == 204
        assert len(history.connections) >= 2
        return history


async def cut_conversation(api: Api, sent: Sent, reader: Reader, cut: Cut, start: str) -> Any:
    """Follow the conversation through one cut, up to the end of the answer."""
    async with FaultProxy(urlsplit(api.base).port or 0, [cut]) as proxy:
        call = api.at(proxy.url).call(f"conversations/{sent.conversation}/events/")
        return await follow(reader, call, last_event_id=start, until=ends(sent.generation))


@pytest.mark.parametrize("reader", READERS)
async def test_generation_cut_at_every_event(server: LiveServer, alice: Api, reader: str) -> None:
    sent = await alice.send(script(TOKENS, 0.02))
    clients = [
        cut_generation(alice, sent, READERS[reader], Cut(events=count, rst=count % 2 == odd), start)
        for count in range(TOKENS + 5)
        for odd, start in enumerate([sent.last_event_id, ""])
    ]
    await checked(alice, sent, clients)


@pytest.mark.parametrize("reader", LIVE_READERS)
async def test_conversation_cut_at_every_event(server: LiveServer, alice: Api, reader: str) -> None:
    sent = await alice.send(script(TOKENS, 0.02))
    clients = [
        cut_conversation(alice, sent, LIVE_READERS[reader], Cut(events=count, rst=count % 2 == odd), start)
        for count in range(TOKENS + 5)
        for odd, start in enumerate([sent.last_event_id, ""])
    ]
    await checked(alice, sent, clients)


@pytest.mark.parametrize("reader", READERS)
async def test_generation_cut_again_and_again(server: LiveServer, alice: Api, reader: str) -> None:
    """A client that gets one event further with each connection arrives all the same."""
    sent = await alice.send(script(TOKENS, 0.01))
    cuts = [Cut(events=1, rst=number % 2 == 0) for number in range(200)]
    async with FaultProxy(server.port, cuts) as proxy:
        call = alice.at(proxy.url).call(f"generations/{sent.generation}/events/")
        history = await follow(READERS[reader], call, last_event_id=sent.last_event_id)
    await checked(alice, sent, [finished(history)])


async def finished(value: Any) -> Any:
    """A value as a coroutine."""
    return value


async def raw_body(api: Api, path: str) -> bytes:
    """The whole body of a stream that ends."""
    async with http_client(cookies=api.account.cookies, timeout=30) as client:
        response = await client.get(api.url(path), headers={"Accept": "text/event-stream"})
    assert response.status_code == 200
    return response.content


@pytest.mark.parametrize("start", ["behind", "nothing"])
async def test_replay_cut_at_many_bytes(server: LiveServer, alice: Api, start: str) -> None:
    sent = await alice.send(script(TOKENS, 0.002))
    await alice.settled(sent.conversation)
    after = sent.last_event_id if start == "behind" else ""
    body = await raw_body(
        alice, f"generations/{sent.generation}/events/?last_event_id={after}".removesuffix("?last_event_id=")
    )
    check_framing(body)
    draw = random.Random(SEED)
    first_events = range(len(b"\n\n".join(body.split(b"\n\n")[:3])) + 2)
    offsets = {*draw.sample(first_events, 30), *draw.sample(range(len(body)), 20), *range(len(body) - 20, len(body))}
    readers = [*READERS.values()]
    limit = asyncio.Semaphore(24)

    async def one(offset: int) -> Any:
        async with limit:
            cut = Cut(body=offset, rst=offset % 2 == 0)
            return await cut_generation(alice, sent, readers[offset % 3], cut, after)

    await checked(alice, sent, [one(offset) for offset in sorted(offsets)])


async def test_live_stream_cut_at_random_bytes(server: LiveServer, alice: Api) -> None:
    sent = await alice.send(script(TOKENS, 0.02))
    draw = random.Random(SEED)
    readers = [*READERS.values()]
    clients = [
        cut_generation(
            alice, sent, readers[number % 3], Cut(body=draw.randrange(4_000), rst=number % 2 == 0), sent.last_event_id
        )
        for number in range(40)
    ]
    await checked(alice, sent, clients)


@pytest.mark.parametrize("reader", READERS)
async def test_post_stream_cut_at_every_event(server: LiveServer, alice: Api, reader: str) -> None:
    """Also when the POST was carried out and its answer never arrived."""
    limit = asyncio.Semaphore(12)

    async def one(number: int, cut: Cut) -> None:
        async with limit, FaultProxy(server.port, [cut]) as proxy:
            conversation = await alice.conversation()
            post = alice.at(proxy.url).post_call(conversation, script(8, 0.015), client_id=f"prompt-{number}")
            history, generation = await post_and_follow(
                READERS[reader], post, lambda found: f"{proxy.url}/llmstream/generations/{found}/events/"
            )
            state = await alice.settled(conversation)
            assert [message["role"] for message in state["messages"]] == ["user", "assistant"]
            assert [item["id"] for item in state["generations"]] == [generation]
            check(history, generation, state["messages"][1])

    cuts = [Cut(head=True), Cut(head=True, rst=True), *(Cut(events=count, rst=count % 2 == 0) for count in range(14))]
    draw = random.Random(SEED)
    cuts += [Cut(body=draw.randrange(2_500), rst=number % 2 == 0) for number in range(12)]
    await asyncio.gather(*(one(number, cut) for number, cut in enumerate(cuts)))


async def test_long_poll_cut_at_many_bytes(server: LiveServer, alice: Api) -> None:
    sent = await alice.send(script(TOKENS, 0.02))
    draw = random.Random(SEED)

    async def one(number: int, cuts: list[Cut]) -> Any:
        async with FaultProxy(server.port, cuts) as proxy:
            call = alice.at(proxy.url).call(f"conversations/{sent.conversation}/events/")
            return await poll(call, until=ends(sent.generation), last_event_id=sent.last_event_id)

    plans = [
        [Cut(head=True, rst=True), *(Cut(body=draw.randrange(400), rst=number % 2 == 0) for _ in range(3))]
        for number in range(30)
    ]
    await checked(alice, sent, [one(number, plan) for number, plan in enumerate(plans)])


async def test_frames_keep_to_the_strict_form(server: LiveServer, alice: Api) -> None:
    sent = await alice.send(script(TOKENS, 0.01))
    body = await raw_body(alice, f"generations/{sent.generation}/events/?last_event_id={sent.last_event_id}")
    check_framing(body)
    parser = EventStreamParser()
    frames = parser.feed(body)
    assert parser.retry is not None
    assert all(frame.own_id for frame in frames)
    assert frames[-1].type == "message-end"
