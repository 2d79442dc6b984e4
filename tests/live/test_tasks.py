"""Generations as tasks that are kept in the database and run by ``manage.py db_worker``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from .api import Api, find
from .clients import follow, read_aiohttp
from .conftest import CALM, QUICK, Rig
from .events import text_of
from .history import check
from .servers import Database, LiveServer, prepare
from .sites.provider import answer, script

SITE = "tests.live.sites.tasks"
TASKS = "SELECT status, COUNT(*) FROM django_tasks_database_dbtaskresult GROUP BY status"


@dataclass(frozen=True, slots=True)
class Scene:
    """A user at a web process whose prompts become tasks."""

    rig: Rig
    alice: Api
    database: Database

    def worker(self, settings: Mapping[str, float] = QUICK) -> LiveServer:
        """Start a process that runs tasks."""
        return self.rig.launch("task-worker", self.database, settings=SITE, llmstream=settings)


@pytest.fixture
def scene(rig: Rig, tmp_path: Path) -> Scene:
    """A web process."""
    database = prepare(f"sqlite:///{tmp_path}/tasks.sqlite3", settings=SITE)
    server = rig.server("uvicorn", database, settings=SITE, llmstream=QUICK)
    return Scene(rig, Api(server.url, database.accounts["alice"]), database)


async def test_prompts_are_tasks_and_have_their_turns_in_order(scene: Scene) -> None:
    worker = scene.worker(CALM)
    first = await scene.alice.send(script(40, 0.02))
    call = scene.alice.call(f"generations/{first.generation}/events/")
    rest = [await scene.alice.send(script(count, 0.01), to=first.conversation, busy="queue") for count in (5, 6)]
    history = await follow(read_aiohttp, call, last_event_id=first.last_event_id)
    state = await scene.alice.settled(first.conversation)
    check(history, first.generation, find(state, first.message))
    assert [text_of(find(state, sent.message)) for sent in rest] == [answer(5), answer(6)]
    worker.terminate()
    tasks = dict(scene.database.execute(TASKS))
    # One for each prompt; a worker that is slow may have been reminded of one, and have ended before it came to that.
    assert tasks.pop("SUCCESSFUL") >= 3
    assert not tasks.keys() - {"READY"}


async def test_a_stop_ends_the_task_and_a_crash_leaves_the_rest_to_another_worker(scene: Scene) -> None:
    worker = scene.worker()
    stopped = await scene.alice.send(script(2_000, 0.02))
    await scene.alice.shown(stopped)
    await scene.alice.stop(stopped.generation)
    crashed = await scene.alice.send(script(2_000, 0.02))
    waiting = await scene.alice.send(script(4, 0.01), to=crashed.conversation, busy="queue")
    await scene.alice.shown(crashed)
    worker.kill()
    successor = scene.worker()
    state = await scene.alice.settled(crashed.conversation)
    assert [generation["status"] for generation in state["generations"]] == ["interrupted", "completed"]
    assert text_of(find(state, waiting.message)) == answer(4)
    successor.kill()
