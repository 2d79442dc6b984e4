"""Steering messages and decisions that are given at one process reach an answer that another one runs."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tools.services.valkey import ValkeyServer

from .api import Api, Sent
from .clients import follow, read_httpx
from .conftest import CALM, Rig

RUNS = 10
#: The promise is 250 ms at the median on an idle machine.
GENEROUS = 1.5
TOOLS = "tests.live.sites.tools"
SCRIPTED = "llmstream.providers.scripted.ScriptedProvider"


def model(tool: str, calls: int) -> dict[str, Any]:
    """Return a model that asks for a tool so many times, in a call each."""
    steps = [[{"tool": tool, "id": f"{tool}{number}"}, {"next": True}] for number in range(calls)]
    script = [*(step for pair in steps for step in pair), "Done."]
    return {"PROVIDER": SCRIPTED, "TOOLS": [f"{TOOLS}.{tool}"], "OPTIONS": {"script": script}}


SITE = {
    **CALM,
    "BROKER": "llmstream.brokers.channels.ChannelsBroker",
    "RUNNER": "llmstream.runners.worker.WorkerRunner",
    "MODELS": {"asking": model("stamp", 1), "working": model("tick", 300)},
    "DEFAULT_MODEL": "asking",
    "MAX_STEPS": 500,
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The file in which each run of a tool leaves a line."""
    return tmp_path / "runs"


@pytest.fixture
def webs(rig: Rig, runs: Path, valkey_server: ValkeyServer) -> tuple[Api, Api]:
    """Two web processes, with a worker behind them."""
    env = {"REDIS_URL": valkey_server.url, "LLMSTREAM_TOOL_RUNS": str(runs)}
    database = rig.database("postgres")
    options: dict[str, Any] = {"settings": "tests.live.sites.cluster", "llmstream": SITE, "env": env}
    kinds = ("uvicorn", "uvicorn", "worker")
    here, there, _ = [rig.launch(kind, database, **options) for kind in kinds]
    account = database.accounts["alice"]
    return Api(here.wait_ready().url, account), Api(there.wait_ready().url, account)


def noted(runs: Path) -> list[str]:
    """Return what the tools have noted."""
    return runs.read_text(encoding="utf-8").splitlines()


def report(what: str, latencies: Sequence[float]) -> None:
    """Print the figures, and hold them to a bound that a busy machine keeps."""
    median = statistics.median(latencies)
    print(f"{what}, over the layer: median {median * 1000:.0f} ms, worst {max(latencies) * 1000:.0f} ms")
    assert median < GENEROUS


async def status(api: Api, sent: Sent, wanted: str) -> None:
    """Wait until a generation is at a status."""
    await api.when(sent.conversation, lambda state: state["generations"][-1]["status"] == wanted)


async def test_a_decision_has_the_tool_run_at_once(webs: tuple[Api, Api], runs: Path) -> None:
    here, there = webs
    latencies = []
    conversation = await here.conversation()
    for number in range(1, RUNS + 1):
        sent = await here.send("go", to=conversation, model="asking")
        await status(here, sent, "waiting")
        decided = monotonic()
        await there.json("POST", f"generations/{sent.generation}/tool-calls/stamp0/", json={"decision": "approve"})
        await status(here, sent, "completed")
        lines = noted(runs)
        assert len(lines) == number
        latencies.append(float(lines[-1].split()[-1]) - decided)
    report("approval to tool", latencies)


async def test_a_steering_message_reaches_the_next_call(webs: tuple[Api, Api]) -> None:
    here, there = webs
    latencies = []
    sent = await here.send("go", model="working")
    call = here.call(f"generations/{sent.generation}/events/")
    await status(here, sent, "running")
    for _ in range(RUNS):
        since = (await here.state(sent.conversation))["last_event_id"]
        accepted = asyncio.create_task(
            follow(read_httpx, call, last_event_id=since, until=lambda event: event.type == "steer-accepted")
        )
        said = monotonic()
        steer = await there.json("POST", f"generations/{sent.generation}/steer/", json={"content": "Faster"})
        history = await accepted
        latencies.append(monotonic() - said)
        assert list(history.events)[-1].data["steer"] == steer["steer"]
    await there.stop(sent.generation)
    report("steering message to its receipt", latencies)
