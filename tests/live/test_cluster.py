"""``make cluster``: one command brings up the whole site, keeps it up, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from tests.upstream import Upstream
from tools.cluster_servers import MOST_RESTARTS, Cluster
from tools.services.ports import free_port
from tools.services.server import Server, ServerError

from .api import Api, Sent
from .clients import CUTS, connect, follow, read_aiohttp
from .history import History, Received, check
from .servers import ROOT, Account

pytestmark = pytest.mark.timeout(450)  # every start is that of six servers
PATIENCE = 150.0
# An answer that lasts longer than any test reads.
TOKENS, RATE = 20_000, 60
FOREIGN = ("DJANGO", "DATABASE_URL", "REDIS_URL", "LLMSTREAM", "OPENAI")


class ClusterProcess:
    """``tools.cluster`` on a directory, with the model of an upstream."""

    def __init__(self, directory: Path, upstream: Upstream) -> None:
        self.directory = directory
        self.url = f"http://127.0.0.1:{free_port()}"
        self._output = directory.with_suffix(".out")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        model = f"answer?tokens={TOKENS}&rate={RATE}"
        openai = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": upstream.url, "OPENAI_MODEL": model}
        self._env = {**inherited, **openai, "PORT": self.url.rpartition(":")[2]}
        self._started = False

    @property
    def runs(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._started and self.process.poll() is None

    @property
    def output(self) -> str:
        """What it has printed since it was started."""
        return self._output.read_text()

    def start(self) -> psutil.Popen:
        """Start it and return when it has printed its address."""
        command = [sys.executable, "-m", "tools.cluster", "--no-setup", "--directory", str(self.directory)]
        with self._output.open("wb") as out:
            self.process = psutil.Popen(command, cwd=ROOT, env=self._env, stdout=out, stderr=out)
        self._started = True
        self.wait(lambda: self.url in self.output)
        return self.process

    def wait(self, condition: Callable[[], bool]) -> None:
        """Return once a condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def pid(self, name: str) -> int:
        """The process that a part of the site is."""
        return int(re.findall(rf"{name} .*process (\d+)", self.output)[-1])

    def kill(self, name: str) -> None:
        """Kill a part of the site and return once it has been started again."""
        killed = self.pid(name)
        psutil.Process(killed).kill()
        self.wait(lambda: self.pid(name) != killed)
        assert psutil.pid_exists(self.pid(name))

    def log(self, name: str) -> str:
        """What a part of the site has logged."""
        return (self.directory / "logs" / f"{name}.log").read_text()

    def everything(self) -> list[psutil.Process]:
        """The process and all below it."""
        return [self.process, *self.process.children(recursive=True)]

    def close(self) -> None:
        """End it if it runs and delete its data, which root keeps elsewhere when the directory is private."""
        if self.runs:
            self.process.terminate()
            self.process.wait(PATIENCE)
        shutil.rmtree((self.directory / "postgresql").resolve(), ignore_errors=True)

    def sign_in(self, name: str) -> Api:
        """Sign in by the page's button, as a browser does."""
        with httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False) as client:
            client.get("/accounts/login/").raise_for_status()
            form = {"user": name, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
            signed_in = client.post("/accounts/demo/", data=form, headers={"Origin": self.url})
            assert signed_in.status_code == 302, signed_in.text
            return Api(self.url, Account(name, client.cookies["sessionid"], client.cookies["csrftoken"]))


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """The cluster's model."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def only_cluster(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[ClusterProcess]:
    """The one cluster of all tests, which may run or not."""
    cluster = ClusterProcess(tmp_path_factory.mktemp("cluster") / "home", upstream)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(only_cluster: ClusterProcess) -> ClusterProcess:
    """A running cluster."""
    if not only_cluster.runs:
        only_cluster.start()
    return only_cluster


def has(history: History, count: int, event: Received) -> bool:
    """Whether so many events have come in all."""
    return len(list(history.events)) >= count


async def hop(api: Api, sent: Sent, times: int) -> History:
    """Read the beginning of an answer on several connections, each of which resumes the one before it."""
    history = History()
    call = api.call(f"generations/{sent.generation}/events/")
    for _ in range(times):
        enough = partial(has, history, len(list(history.events)) + 4)
        await connect(read_aiohttp, call.resumed(history.last_id or sent.last_event_id), history, until=enough)
    return history


async def test_an_answer_arrives_while_it_is_written_and_goes_on_at_the_other_process(
    cluster: ClusterProcess, upstream: Upstream
) -> None:
    alice = cluster.sign_in("alice")
    sent = await alice.send("Hello")
    history = await hop(alice, sent, times=4)
    assert "text-delta" in history.types
    assert upstream.exchanges[-1].tokens < TOKENS
    await alice.stop(sent.generation)
    call = alice.call(f"generations/{sent.generation}/events/")
    await follow(read_aiohttp, call, history=history)
    check(history, sent.generation, await alice.stored(sent.conversation, sent.message), status="stopped")
    for name in ("web-1", "web-2"):
        assert f"/llmstream/generations/{sent.generation}/events/" in cluster.log(name)


@pytest.mark.parametrize("name", ["web-1", "worker", "nginx", "Valkey", "PostgreSQL"])
async def test_what_dies_is_started_again(cluster: ClusterProcess, name: str) -> None:
    await asyncio.to_thread(cluster.kill, name)
    alice = cluster.sign_in("alice")
    sent = await alice.send("Hello")
    assert "text-delta" in (await hop(alice, sent, times=2)).types
    await alice.stop(sent.generation)


async def test_an_answer_outlives_every_web_process(cluster: ClusterProcess, upstream: Upstream) -> None:
    alice = cluster.sign_in("alice")
    sent = await alice.send("Hello")
    call = alice.call(f"generations/{sent.generation}/events/")
    reading = asyncio.create_task(follow(read_aiohttp, call, last_event_id=sent.last_event_id, patience=PATIENCE))
    for name in ("web-1", "web-2"):
        await asyncio.to_thread(cluster.kill, name)
    assert upstream.exchanges[-1].tokens < TOKENS
    await alice.stop(sent.generation)
    history = await reading
    check(history, sent.generation, await alice.stored(sent.conversation, sent.message), status="stopped")
    assert len(history.connections) > 1


class ShortLived(Server):
    """Ends as soon as somebody has found that it lives."""

    name = "mayfly"

    def command(self) -> list[str | Path]:
        """Wait to be found."""
        return ["/bin/sh", "-c", 'until rm "$0"; do sleep 0.05; done 2>&-; echo tired; exit 3', self._home / "found"]

    def answers(self) -> bool:
        """As long as it lives."""
        (self._home / "found").touch()
        return True


def test_what_keeps_dying_is_given_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        cluster = Cluster(tmp_path, stack)
        mayfly = cluster.add(ShortLived(tmp_path / "log"), "mayfly")
        mayfly.start()
        with pytest.raises(ServerError, match=f"mayfly keeps ending; its log: {tmp_path / 'log'}"):
            cluster.follow()
    assert capsys.readouterr().out.count("mayfly has ended with status 3") == MOST_RESTARTS + 1
    assert mayfly.log.read_text() == "tired\n" * (MOST_RESTARTS + 1)


def test_one_directory_has_one_cluster(cluster: ClusterProcess) -> None:
    command = [sys.executable, "-m", "tools.cluster", "--no-setup", "--directory", str(cluster.directory)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert second.stderr == f"Another cluster runs on {cluster.directory}.\n"


async def test_an_interrupt_ends_everything_and_the_next_start_goes_on(cluster: ClusterProcess) -> None:
    alice = cluster.sign_in("alice")
    sent = await alice.send("Hello")
    stream = aiter(read_aiohttp(alice.call(sent.urls["events"])))
    await anext(stream)
    everything = cluster.everything()
    everything[0].send_signal(signal.SIGINT)
    assert await asyncio.to_thread(everything[0].wait, PATIENCE) == 0, cluster.output
    with pytest.raises(CUTS):
        _ = [event async for event in stream]
    assert [left for left in everything if left.is_running()] == []

    process = cluster.start()
    assert (await alice.state(sent.conversation))["id"] == sent.conversation
    everything = cluster.everything()
    process.kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, everything, PATIENCE)
    assert alive == []
