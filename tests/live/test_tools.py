"""Agents on real servers: tools replayed alike over every transport, approvals that outlive their process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from .api import Api, Sent, error_code
from .clients import ends, follow, poll, read_aiohttp, read_httpx
from .conftest import CALM, QUICK, Rig
from .history import Received, check
from .servers import Database, LiveServer

HERE = "tests.live.sites.tools"


def agent(*script: Any) -> dict[str, Any]:
    """Return settings with one model that has every tool and plays a script."""
    tools = [f"{HERE}.{name}" for name in ("wipe", "search", "broken", "endless")]
    provider = "llmstream.providers.scripted.ScriptedProvider"
    return {**CALM, "MODELS": {"paced": {"PROVIDER": provider, "TOOLS": tools, "OPTIONS": {"script": list(script)}}}}


def wants(tool: str, **given: Any) -> dict[str, Any]:
    """Return the step that asks for a tool; its id is the tool's name."""
    return {"tool": tool, "input": given, "id": tool}


SEARCH = agent(
    "Let me see. ",
    wants("search", words="rain"),
    wants("broken"),
    {"next": True},
    wants("search", words="sun") | {"id": "again"},
    {"next": True},
    "Found: ",
    {"result": 0},
)
WIPE = agent("I would wipe it. ", wants("wipe", what="disk"), {"next": True}, "Done: ", {"result": 0})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The file in which each run of a tool leaves a line."""
    return tmp_path / "runs"


def launch(rig: Rig, runs: Path, llmstream: dict[str, Any], database: Database | None = None) -> LiveServer:
    """Start a server whose model is an agent."""
    env = {"LLMSTREAM_TOOL_RUNS": str(runs)}
    return rig.server("uvicorn", database or rig.database(), llmstream=llmstream, env=env)


def noted(runs: Path) -> list[str]:
    """Return what the tools have noted, without the processes."""
    return [line.partition(" ")[2] for line in runs.read_text(encoding="utf-8").splitlines()] if runs.exists() else []


def told(events: Iterable[Received], sent: Sent) -> list[Any]:
    """Return a generation's events, deltas of one part joined, as replays may join them."""
    joined: list[Any] = []
    for event in events:
        if event.data.get("generation") != sent.generation:
            continue
        last = joined[-1] if joined else {}
        if event.type == "text-delta" and last.get("type") == event.type and last["part"] == event.data["part"]:
            joined[-1] = {**last, "delta": last["delta"] + event.data["delta"]}
        else:
            joined.append({key: value for key, value in event.data.items() if key != "id"})
    return joined


async def waits(api: Api, sent: Sent) -> None:
    """Wait until the generation waits for a decision."""
    await api.when(sent.conversation, lambda state: state["generations"][-1]["status"] == "waiting")


async def test_a_tool_loop_is_the_same_live_and_replayed_over_every_transport(rig: Rig, runs: Path) -> None:
    server = launch(rig, runs, SEARCH)
    alice = Api(server.url, server.database.accounts["alice"])
    sent = await alice.send("Search")
    stream = alice.call(f"generations/{sent.generation}/events/")
    pages = alice.call(f"conversations/{sent.conversation}/events/")

    async def read() -> list[list[Any]]:
        histories = await asyncio.gather(
            follow(read_aiohttp, stream, last_event_id=sent.last_event_id),
            follow(read_httpx, pages, last_event_id=sent.last_event_id, until=ends(sent.generation)),
            poll(pages, until=ends(sent.generation), last_event_id=sent.last_event_id),
        )
        stored = await alice.stored(sent.conversation, sent.message)
        for history in histories:
            check(history, sent.generation, stored)
        return [told(history.events, sent) for history in histories]

    live, replayed = await read(), await read()
    assert all(events == live[0] for events in [*live, *replayed])
    kinds = [event["type"] for event in live[0]]
    assert (kinds.count("tool-progress"), kinds.count("data"), kinds.count("usage")) == (6, 2, 3)
    returned = [event for event in live[0] if event["type"] == "tool-result"]
    results = {event["call"]: event.get("output") or event["error"]["code"] for event in returned}
    assert results == {"search": ["one", "two"], "broken": "tool_failed", "again": ["one", "two"]}
    assert sorted(noted(runs)) == ["broken", "rain", "sun"]
    assert kinds.index("tool-result") < kinds.index("data"), "the failing tool did not wait for the slow one"


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_an_approval_outlives_the_process_that_asked_for_it(rig: Rig, runs: Path, database: str) -> None:
    asking = launch(rig, runs, WIPE, rig.database(database))
    alice = Api(asking.url, asking.database.accounts["alice"])
    sent = await alice.send("Wipe")
    await waits(alice, sent)
    asking.kill()
    other = launch(rig, runs, WIPE, asking.database)
    tab = alice.at(other.url)
    assert (await tab.state(sent.conversation))["generations"][-1]["status"] == "waiting"
    path = f"generations/{sent.generation}/tool-calls/wipe/"
    await tab.json("POST", path, json={"decision": "approve"})
    # Nobody reads: the decision alone has it go on.
    stored = await tab.stored(sent.conversation, sent.message)
    call = tab.call(f"generations/{sent.generation}/events/")
    check(await follow(read_aiohttp, call, last_event_id=sent.last_event_id), sent.generation, stored)
    assert [part["type"] for part in stored["parts"]] == ["text", "tool", "text"]
    assert stored["parts"][2]["text"] == "Done: wiped disk"
    approval = stored["parts"][1]["approval"]
    assert (approval["decision"], approval["by"]["name"]) == ("approve", "alice")
    assert noted(runs) == ["disk"]
    await tab.json("POST", path, json={"decision": "approve"})
    assert error_code(await tab.request("POST", path, json={"decision": "deny"}), 409) == "tool_call_decided"
    assert noted(runs) == ["disk"]


async def test_contrary_decisions_at_two_servers_have_one_winner(rig: Rig, runs: Path) -> None:
    first = launch(rig, runs, WIPE)
    second = launch(rig, runs, WIPE, first.database)
    alice = Api(first.url, first.database.accounts["alice"])
    for _ in range(5):
        sent = await alice.send("Wipe")
        await waits(alice, sent)
        path = f"generations/{sent.generation}/tool-calls/wipe/"
        decisions = {"approve": alice, "deny": alice.at(second.url)}
        answers = await asyncio.gather(
            *[api.request("POST", path, json={"decision": decision}) for decision, api in decisions.items()]
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        (won,) = [word for word, answer in zip(decisions, answers, strict=True) if answer.status_code == 200]
        (lost,) = [answer.json() for answer in answers if answer.status_code == 409]
        assert (lost["tool_call"]["decision"], lost["tool_call"]["by"]["name"]) == (won, "alice")
        stored = await alice.stored(sent.conversation, sent.message)
        assert stored["status"] == "completed"
        assert ("output" in stored["parts"][1]) == (won == "approve")


async def test_a_tool_that_ran_when_its_process_died_is_not_run_again(rig: Rig, runs: Path) -> None:
    script = ("Now. ", wants("endless"), {"next": True}, "Failed: ", {"result": 0})
    server = launch(rig, runs, {**agent(*script), **QUICK})
    alice = Api(server.url, server.database.accounts["alice"])
    sent = await alice.send("Go")
    async with asyncio.timeout(20):
        while not noted(runs):
            await asyncio.sleep(0.05)
    # Longer than a lease: a tool within its time keeps it.
    await asyncio.sleep(2 * QUICK["LEASE"])
    assert (await alice.state(sent.conversation))["generations"][-1]["status"] == "running"
    server.kill()
    server.start().wait_ready()
    history = await follow(read_aiohttp, alice.call(f"generations/{sent.generation}/events/"))
    stored = await alice.stored(sent.conversation, sent.message)
    check(history, sent.generation, stored)
    assert stored["parts"][1]["error"]["code"] == "tool_interrupted"
    assert "tool_interrupted" in stored["parts"][2]["text"], "the model was not told"
    assert noted(runs) == ["endless"]
