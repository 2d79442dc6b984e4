"""Answers outlive the processes that generate them: taken over by a neighbour, token for token where the service can.

``LLMSTREAM_KILLS`` is the number of background responses whose reader is killed, 2 by default, and twice the number of
kills at random moments.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from time import monotonic
from typing import Any, Final

import pytest

from tests.upstream import Upstream

from .api import Api, Sent, find
from .clients import follow, read_aiohttp
from .conftest import QUICK, Rig
from .events import text_of
from .history import History, check
from .servers import Database, LiveServer
from .sites.provider import script
from .test_crash import ENDS_WITHIN, LEASE, seen
from .upstream_models import API_KEY, tokens

ROUNDS: Final = int(os.environ.get("LLMSTREAM_KILLS", "2"))
#: So many that an answer goes on for seconds after the latest kill.
TOKENS: Final = 200
#: Answers at once in a round of kills at random moments.
CROWD: Final = 8

pytestmark = pytest.mark.timeout(100 + 20 * ROUNDS)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """A service with background responses, which counts what it generates."""
    with Upstream() as upstream:
        yield upstream


def pair(rig: Rig, upstream: Upstream, **settings: Any) -> list[LiveServer]:
    """Two servers on one database, with a model in the background and two in the foreground."""
    database, paced = rig.database(), "tests.live.sites.provider.PacedProvider"
    models = {
        "research": {
            "PROVIDER": "llmstream.providers.openai_responses.OpenAIResponsesProvider",
            "MODEL": f"answer?tokens={TOKENS}&rate=40",
            "OPTIONS": {"base_url": upstream.url, "api_key": API_KEY, "background": True},
        },
        "paced": {"PROVIDER": paced},
        "going on": {"PROVIDER": paced, "RECOVERY": ["retry", "continue"]},
    }
    llmstream = {**QUICK, "MODELS": models, "DEFAULT_MODEL": "research", **settings}
    servers = [rig.launch("uvicorn", database, llmstream=llmstream) for _ in range(2)]
    return [server.wait_ready() for server in servers]


@pytest.fixture(scope="module")
def servers(shared_rig: Rig, upstream: Upstream) -> Iterator[list[LiveServer]]:
    """Two servers that tests kill."""
    servers = pair(shared_rig, upstream)
    yield servers
    for server in servers:
        server.kill()


def alive(server: LiveServer) -> LiveServer:
    """Return a server once it runs, again if it was killed."""
    return server if server.process else server.start().wait_ready()


def watch(api: Api, sent: Sent, history: History) -> asyncio.Task[History]:
    """Read an answer to its end."""
    call = api.call(f"generations/{sent.generation}/events/")
    return asyncio.create_task(
        follow(read_aiohttp, call, last_event_id=sent.last_event_id, history=history, patience=30)
    )


async def test_kill_9_in_the_middle_of_a_background_response(servers: list[LiveServer], upstream: Upstream) -> None:
    draw, took = random.Random(11), []
    for number in range(1, ROUNDS + 1):
        doomed, other = [await asyncio.to_thread(alive, server) for server in servers[:: (-1) ** number]]
        alice = Api(doomed.url, doomed.database.accounts["alice"])
        sent, history = await alice.send("go"), History()
        reading = watch(alice.at(other.url), sent, history)
        await seen(history, sent.message, draw.randint(1, 200))
        doomed.kill()
        killed, shown = monotonic(), history.text(sent.message)
        await reading
        took.append(monotonic() - killed)
        stored = await alice.at(other.url).stored(sent.conversation, sent.message)
        check(history, sent.generation, stored)
        assert text_of(stored) == tokens(TOKENS)
        assert history.text(sent.message).startswith(shown)
        assert len(upstream.backgrounds) == number, "something was generated twice"
        assert upstream.backgrounds[f"resp_{number}"].generated == TOKENS
    commands = [exchange.method for exchange in upstream.exchanges]
    assert (commands.count("POST"), commands.count("GET")) == (ROUNDS, ROUNDS)
    print(f"{ROUNDS} of {ROUNDS}, from the kill to the answer's end: {min(took):.1f} to {max(took):.1f} s")


async def test_kill_9_at_random_moments(servers: list[LiveServer]) -> None:
    """Whatever stage they are at, all answers of a killed process go on or end."""
    doomed, other = servers
    there, here = (Api(server.url, server.database.accounts["alice"]) for server in servers)
    draw, delays, ends = random.Random(7), [], []
    kills = max(1, ROUNDS // 2)
    for _ in range(kills):
        await asyncio.to_thread(lambda: [alive(server) for server in servers])
        asked = [
            await there.send(script(200, 0.01, draw.choice([0.0, 0.3, 1.0])), model=draw.choice(["paced", "going on"]))
            for _ in range(CROWD)
        ]
        histories = [History() for _ in asked]
        readings = [watch(here, sent, history) for sent, history in zip(asked, histories, strict=True)]
        await asyncio.sleep(draw.uniform(0.0, 0.8))
        doomed.kill()
        killed = monotonic()
        delays += await asyncio.gather(*[moves_on(other.database, sent, killed) for sent in asked])
        for sent, history, reading in zip(asked, histories, readings, strict=True):
            await reading
            state = await here.settled(sent.conversation)
            stored = find(state, sent.message)
            check(history, sent.generation, stored, status=stored["status"])
            ends.append(stored["status"])
    assert set(ends) <= {"completed", "interrupted"}
    assert max(delays) < ENDS_WITHIN
    within = sum(delay <= LEASE + 1 for delay in delays)
    print(
        f"{len(delays)} answers, {kills} kills: {ends.count('completed')} went on, {ends.count('interrupted')} ended;"
        f" {within} of {len(delays)} within lease + 1 s, the last after {max(delays):.2f} s with a lease of {LEASE} s"
    )


async def moves_on(database: Database, sent: Sent, killed: float) -> float:
    """Return the seconds after the kill at which an answer had another owner, or its end."""
    rows = "SELECT fence, status FROM llmstream_generation WHERE public_id = ?"
    async with asyncio.timeout(30):
        while True:
            fence, status = (await asyncio.to_thread(database.execute, rows, sent.generation))[0]
            if fence > 1 or status not in {"queued", "running"}:
                return monotonic() - killed
            await asyncio.sleep(0.03)


async def test_sigterm_hands_an_answer_over_without_waiting_for_its_lease(rig: Rig, upstream: Upstream) -> None:
    doomed, other = await asyncio.to_thread(pair, rig, upstream, LEASE=600.0)
    known = len(upstream.backgrounds)
    alice = Api(doomed.url, doomed.database.accounts["alice"])
    sent, history = await alice.send("go"), History()
    reading = watch(alice.at(other.url), sent, history)
    await seen(history, sent.message, 60)
    await asyncio.to_thread(doomed.terminate, 10)
    await reading
    stored = await alice.at(other.url).stored(sent.conversation, sent.message)
    check(history, sent.generation, stored)
    assert text_of(stored) == tokens(TOKENS)
    assert len(upstream.backgrounds) == known + 1, "something was generated twice"
    assert upstream.backgrounds[f"resp_{known + 1}"].generated == TOKENS
