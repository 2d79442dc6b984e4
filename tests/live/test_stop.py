"""Stop closes the upstream connection and keeps what was shown; a disconnect does neither."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit

import pytest

from tests.upstream import Upstream

from .api import Api, Sent, find, generation_of
from .clients import Call, connect, follow, never, read_aiohttp
from .conftest import CALM, Rig
from .events import text_of
from .history import History, check, check_terminal
from .proxy import Cut, FaultProxy
from .servers import Database
from .upstream_models import entry, tokens

RUNS = 20
#: The promise is 250 ms at the median on an idle machine; benchmarks hold it to that.
GENEROUS = 1.5


@dataclass(frozen=True, slots=True)
class Scene:
    """A user at two servers of one site, whose models live at a fake upstream."""

    upstream: Upstream
    alice: Api
    there: Api
    database: Database

    async def start(self, model: str = "endless", *, shown: int = 3, to: str = "") -> Sent:
        """Send a prompt and wait until some tokens of its answer are stored."""
        sent = await self.alice.send("go", model=model, to=to)
        await self.alice.shown(sent, chars=len(tokens(shown)))
        return sent


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def scene(module_rig: Rig, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Two servers on each database."""
    with Upstream() as upstream:
        models = {
            "endless": entry(upstream.url, "answer?tokens=1000&rate=100"),
            "short": entry(upstream.url, "answer?tokens=60&rate=60"),
            # What is still said when the client has left, however late that is noticed.
            "slow": entry(upstream.url, "answer?tokens=60&rate=12"),
            "mute": entry(upstream.url, "silent?after=0"),
            "headless": entry(upstream.url, "silent?head=0"),
        }
        database = module_rig.database(request.param)
        settings = {**CALM, "MODELS": models, "DEFAULT_MODEL": "endless"}
        servers = [module_rig.launch("uvicorn", database, llmstream=settings) for _ in range(2)]
        alice, there = (Api(server.wait_ready().url, database.accounts["alice"]) for server in servers)
        yield Scene(upstream, alice, there, database)
        for server in servers:
            server.kill()


def events_of(api: Api, sent: Sent) -> Call:
    """The stream of a generation."""
    return api.call(f"generations/{sent.generation}/events/")


async def test_the_upstream_is_closed_at_once(scene: Scene) -> None:
    latencies, answers = [], []
    conversation = await scene.alice.conversation()
    for _ in range(RUNS):
        sent = await scene.start(to=conversation)
        exchange = scene.upstream.exchanges[-1]
        asked = monotonic()
        stopped = await scene.alice.stop(sent.generation)
        answers.append(monotonic() - asked)
        assert stopped["status"] == "stopped"
        gone = await asyncio.to_thread(scene.upstream.wait_disconnect, exchange)
        latencies.append(gone - asked)
    print(
        f"stop: upstream closed after {statistics.median(latencies) * 1000:.0f} ms at the median,"
        f" {max(latencies) * 1000:.0f} ms at most; answered after {statistics.median(answers) * 1000:.0f} ms"
    )
    assert statistics.median(latencies) < GENEROUS


async def test_partial_text_and_usage_are_kept_and_nothing_follows(scene: Scene) -> None:
    sent = await scene.start(shown=5)
    reading = asyncio.create_task(follow(read_aiohttp, events_of(scene.alice, sent), last_event_id=sent.last_event_id))
    exchange = scene.upstream.exchanges[-1]
    await scene.alice.stop(sent.generation)
    history = await reading
    await asyncio.to_thread(scene.upstream.wait_disconnect, exchange)
    state = await scene.alice.state(sent.conversation)
    stored = find(state, sent.message)
    check(history, sent.generation, stored, status="stopped")
    assert len(text_of(stored)) >= len(tokens(5))
    assert tokens(1_000).startswith(text_of(stored))
    assert history.types[-2:] == ["usage", "message-end"]
    usage = list(history.events)[-2].data
    assert usage["estimated"]
    assert usage["output"] > 0
    rows = scene.database.execute(
        "SELECT output_tokens, estimated FROM llmstream_usagerecord r"
        " JOIN llmstream_generation g ON g.id = r.generation_id WHERE g.public_id = ?",
        sent.generation,
    )
    assert [(output, bool(estimated)) for output, estimated in rows] == [(usage["output"], True)]
    # The stream ends and 204 follows; so does the log, for whoever looks later.
    assert history.connections[-1].status == 204
    assert state["last_event_id"] == history.last_id
    again = await scene.alice.stop(sent.generation)
    assert again["status"] == "stopped"
    assert (await scene.alice.state(sent.conversation))["last_event_id"] == history.last_id


@pytest.mark.parametrize("model", ["mute", "headless"])
async def test_a_stop_before_the_first_token(scene: Scene, model: str) -> None:
    before = len(scene.upstream.exchanges)
    sent = await scene.alice.send("go", model=model)
    exchange = await asyncio.to_thread(scene.upstream.wait, before + 1)
    await scene.alice.stop(sent.generation)
    await asyncio.to_thread(scene.upstream.wait_disconnect, exchange)
    history = await follow(read_aiohttp, events_of(scene.alice, sent), last_event_id=sent.last_event_id)
    stored = await scene.alice.stored(sent.conversation, sent.message)
    check(history, sent.generation, stored, status="stopped")
    assert text_of(stored) == ""


async def test_a_stop_at_the_other_server_closes_the_upstream(scene: Scene) -> None:
    sent = await scene.start()
    exchange = scene.upstream.exchanges[-1]
    assert (await scene.there.stop(sent.generation))["status"] == "stopped"
    gone = await asyncio.to_thread(scene.upstream.wait_disconnect, exchange)
    assert gone
    head = (await scene.alice.state(sent.conversation))["last_event_id"]
    history = await follow(read_aiohttp, events_of(scene.alice, sent), last_event_id=sent.last_event_id)
    check_terminal(history, sent.generation, status="stopped")
    assert history.last_id == head


async def test_twenty_stops_at_once_and_a_natural_end_make_one_end(scene: Scene) -> None:
    sent = await scene.alice.send("go", model="short")
    reading = asyncio.create_task(follow(read_aiohttp, events_of(scene.alice, sent), last_event_id=sent.last_event_id))
    await scene.alice.shown(sent, chars=len(tokens(50)))
    await asyncio.sleep(0.08)
    stops = await asyncio.gather(*(api.stop(sent.generation) for api in (scene.alice, scene.there) * 10))
    (status,) = {stopped["status"] for stopped in stops}
    assert status in {"stopped", "completed"}
    check(await reading, sent.generation, await scene.alice.stored(sent.conversation, sent.message), status=status)


@pytest.mark.parametrize("reset", [True, False], ids=["rst", "fin"])
async def test_a_client_that_leaves_does_not_stop_the_answer(scene: Scene, reset: bool) -> None:
    conversation = await scene.alice.conversation()
    history = History()
    async with FaultProxy(urlsplit(scene.alice.base).port or 0, [Cut(events=4, rst=reset)]) as proxy:
        post = scene.alice.at(proxy.url).post_call(conversation, "go", model="slow")
        left = await connect(read_aiohttp, post, history, until=never)
    assert left.ended != "left"
    assert left.events[-1].type == "text-delta"
    exchange = scene.upstream.exchanges[-1]
    assert exchange.finished is None
    state = await scene.alice.settled(conversation)
    assert text_of(state["messages"][1]) == tokens(60)
    assert state["messages"][1]["status"] == "completed"
    assert exchange.finished is not None
    assert exchange.disconnected is None
    (generation,) = state["generations"]
    assert generation_of(state, generation["id"])["finish_reason"] == "stop"
    call = scene.there.call(f"generations/{generation['id']}/events/")
    await follow(read_aiohttp, call, history=history)
    check(history, generation["id"], state["messages"][1])
    usage = next(event.data for event in history.events if event.type == "usage")
    assert (usage["input"], usage["output"], usage["estimated"]) == (11, 60, False)
