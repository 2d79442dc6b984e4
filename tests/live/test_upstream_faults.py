"""Everything that a model's service can do wrong: a stable code, the partial text, and none of the service's words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.upstream import Upstream, nobody_there

from .api import Api, find, generation_of
from .clients import follow, http_client, read_aiohttp
from .conftest import QUICK, Rig
from .events import text_of
from .history import check
from .servers import LiveServer
from .upstream_models import API_KEY, entry, tokens

#: What the upstream does, the code that follows, and the tokens that are kept.
FAULTS: dict[str, tuple[str, str, int]] = {
    "401": ("status?code=401", "provider_rejected", 0),
    "404": ("status?code=404", "provider_rejected", 0),
    "429": ("status?code=429", "provider_rate_limited", 0),
    "429 with a long wait": ("status?code=429&retry_after=600", "provider_rate_limited", 0),
    "500": ("status?code=500", "provider_unavailable", 0),
    "503": ("status?code=503", "provider_unavailable", 0),
    "cut": ("cut?after=4", "provider_truncated", 4),
    "cut by fin": ("cut?after=4&how=fin", "provider_truncated", 4),
    "cut before any token": ("cut?after=0", "provider_truncated", 0),
    "unfinished": ("unfinished?after=4", "provider_truncated", 4),
    "garbage": ("broken?after=4", "provider_malformed", 4),
    "error object": ("error?after=4", "provider_unavailable", 4),
    "error in a chunk": ("error?after=4&chunk=1", "provider_unavailable", 4),
    "page": ("html", "provider_malformed", 0),
    "whole completion": ("json", "provider_malformed", 0),
    "stall": ("silent?after=4", "provider_timeout", 4),
    "stall before any token": ("silent?after=0", "provider_timeout", 0),
    "no head": ("silent?head=0", "provider_timeout", 0),
}
#: Oddities that are no faults.
ODD = {
    "crlf": "answer?tokens=6&crlf=1",
    "comments": "answer?tokens=6&comments=1",
    "torn": "answer?tokens=6&split=3",
    "joined": "answer?tokens=6&joined=1",
    "no done": "answer?tokens=6&done=0",
    "no usage": "answer?tokens=6&usage=0",
    "usage turned down": "no_usage?tokens=6&usage=0",
    "lingering": "answer?tokens=6&linger=2",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A user of a site whose models misbehave."""

    upstream: Upstream
    server: LiveServer
    alice: Api


@pytest.fixture(scope="module")
def scene(module_rig: Rig) -> Iterator[Scene]:
    """One server with a model for every fault."""
    with Upstream() as upstream, nobody_there() as port:
        models = {
            # Only where silence is meant: a busy machine is silent, too.
            name: entry(
                upstream.url,
                act,
                FIRST_TOKEN_TIMEOUT=1.0 if code == "provider_timeout" and not kept else 20.0,
                TOKEN_TIMEOUT=1.0 if code == "provider_timeout" else 20.0,
            )
            for name, (act, code, kept) in FAULTS.items()
        }
        models |= {name: entry(upstream.url, act) for name, act in ODD.items()}
        models["unreachable"] = entry(f"http://127.0.0.1:{port}/v1", "answer")
        models["second try"] = entry(upstream.url, "status?code=503&times=1&retry_after_ms=10", max_retries=2)
        models["long"] = entry(upstream.url, "answer?tokens=150&rate=50")
        settings = {**QUICK, "MODELS": models, "DEFAULT_MODEL": "crlf"}
        server = module_rig.server("uvicorn", llmstream=settings)
        yield Scene(upstream, server, Api(server.url, server.database.accounts["alice"]))
        server.kill()


@pytest.mark.parametrize("name", [*FAULTS, "unreachable"])
async def test_a_fault_ends_the_answer_as_failed(scene: Scene, name: str) -> None:
    _, code, kept = FAULTS.get(name, ("", "provider_unavailable", 0))
    sent = await scene.alice.send("go", model=name)
    call = scene.alice.call(f"generations/{sent.generation}/events/")
    history = await follow(read_aiohttp, call, last_event_id=sent.last_event_id)
    state = await scene.alice.settled(sent.conversation)
    stored = find(state, sent.message)
    assert text_of(stored) == tokens(kept)
    check(history, sent.generation, stored, status="failed")
    (end,) = history.terminals(sent.generation)
    assert end.data["error"]["code"] == code
    assert generation_of(state, sent.generation)["error"]["code"] == code
    async with http_client(cookies=scene.alice.account.cookies) as client:
        replay = (await client.get(scene.alice.base + sent.urls["events"])).text
    for text in (replay, str(state), scene.server.output()):
        assert "secret" not in text
        assert API_KEY not in text
        assert "chatcmpl" not in text
    again = await scene.alice.json("POST", f"generations/{sent.generation}/retry/", status=201)
    assert again["generation"]["attempt"] == 2
    await scene.alice.settled(sent.conversation)


@pytest.mark.parametrize("name", [*ODD, "second try"])
async def test_an_oddity_is_no_fault(scene: Scene, name: str) -> None:
    sent = await scene.alice.send("go", model=name)
    call = scene.alice.call(f"generations/{sent.generation}/events/")
    history = await follow(read_aiohttp, call, last_event_id=sent.last_event_id)
    stored = await scene.alice.stored(sent.conversation, sent.message)
    check(history, sent.generation, stored)
    assert text_of(stored) == tokens(5 if name == "second try" else 6)
    usage = next(event.data for event in history.events if event.type == "usage")
    assert usage["estimated"] == (name in {"no usage", "usage turned down"})


async def test_a_failing_model_does_not_disturb_others(scene: Scene) -> None:
    long = await scene.alice.send("go", model="long")
    reading = asyncio.create_task(
        follow(
            read_aiohttp,
            scene.alice.call(f"generations/{long.generation}/events/"),
            last_event_id=long.last_event_id,
        )
    )
    faulty = [await scene.alice.send("go", model=name) for name in FAULTS]
    for sent in faulty:
        state = await scene.alice.settled(sent.conversation)
        assert generation_of(state, sent.generation)["status"] == "failed"
    stored = await scene.alice.stored(long.conversation, long.message)
    assert text_of(stored) == tokens(150)
    check(await reading, long.generation, stored)
