"""The doctor at a real site behind real proxies: a sound one is told to be sound, and every planted fault is found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from .conftest import Rig
from .faulty_proxies import FAULTS, FaultyProxies
from .servers import PLAIN, ROOT, Database

#: Seconds; the idle cut comes long before the first heartbeat, and the end of the silence long before the second.
HEARTBEAT = 10.0
IDLE = HEARTBEAT + 5.0
#: What the doctor is told of the site, which is quicker: a busy machine may be seconds behind.
TOLD = {"HEARTBEAT": HEARTBEAT, "POLL_INTERVAL": 5.0, "LEASE": 15.0}


@dataclass(frozen=True)
class Report:
    """What the command ended with and printed."""

    status: int
    verdicts: list[dict[str, str]]

    @property
    def bad(self) -> dict[str, str]:
        """Return the levels of the checks that are not ok."""
        return {verdict["check"]: verdict["level"] for verdict in self.verdicts if verdict["level"] != "ok"}

    def seen(self, check: str) -> str:
        """Return what was seen at a check."""
        (verdict,) = [verdict for verdict in self.verdicts if verdict["check"] == check]
        return verdict["seen"]


def arguments(url: str, idle: float, *more: str) -> str:
    """Return the command's arguments for a visit, as one word."""
    return json.dumps(["--user", "alice", "--url", f"{url}/llmstream/", "--idle", str(idle), *more])


def doctor(database: Database, visits: Mapping[str, str]) -> Mapping[str, Report]:
    """Run the command with the arguments of each visit."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.live.sites.base",
        "LLMSTREAM_TEST_DB": database.url,
        "LLMSTREAM_LIVE": json.dumps(TOLD),
    }
    command = [sys.executable, "-m", "tests.live.doctors", *visits.values()]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = zip(visits, json.loads(done.stdout), strict=True)
    return {name: Report(status, json.loads(said)["verdicts"]) for name, (status, said) in found}


@pytest.fixture(scope="module")
def reports(module_rig: Rig) -> Mapping[str, Report]:
    """What the doctor says of every site, looked at beside one another."""
    server = module_rig.launch(llmstream={"HEARTBEAT": HEARTBEAT})
    other = module_rig.launch(database=server.database, llmstream={"HEARTBEAT": HEARTBEAT})
    plain = module_rig.launch(database=server.database, app=PLAIN)
    wsgi = module_rig.launch("wsgiref-threads", database=server.database)
    for each in (server, other, plain, wsgi):
        each.wait_ready()
    sessions = server.database.execute("SELECT count(*) FROM django_session")
    with FaultyProxies(server.port, other.port) as proxies:
        visits = {
            "sound": arguments(proxies.url, IDLE, "--model", "paced"),
            **{fault: arguments(proxies.url_of(fault), IDLE if fault == "idle cut" else 0) for fault in FAULTS},
            "plain": arguments(plain.url, 0, "--socket", ""),
            "WSGI": arguments(wsgi.url, 0),
        }
        found = doctor(server.database, visits)
    assert server.database.execute("SELECT count(*) FROM django_session") == sessions
    assert server.database.execute("SELECT count(*) FROM llmstream_conversation") == [(0,)]
    return found


def test_the_documented_site_is_sound(reports: Mapping[str, Report]) -> None:
    report = reports["sound"]
    assert (report.bad, report.status) == ({}, 0)
    checks = [verdict["check"] for verdict in report.verdicts]
    assert checks[checks.index("site") :] == [
        *("site", "writing", "server", "compression", "buffering", "resume by header", "resume by query"),
        "processes",
        *("model", "WebSocket", "idle stream", "idle WebSocket"),
    ]
    assert "with 1 signs of life" in report.seen("idle stream")
    assert "with 1 signs of life" in report.seen("idle WebSocket")


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("buffering", {"buffering": "fault"}),
        ("gzip", {"compression": "fault"}),
        ("no upgrade", {"WebSocket": "fault"}),
        ("idle cut", {"idle stream": "fault", "idle WebSocket": "fault"}),
        ("origin", {"writing": "fault", "server": "fault"}),
        ("forgetful", {"resume by header": "fault", "resume by query": "fault"}),
        ("WSGI", {"server": "fault", "WebSocket": "fault"}),
    ],
)
def test_each_planted_fault_is_found_and_no_other(
    name: str, bad: dict[str, str], reports: Mapping[str, Report]
) -> None:
    assert (reports[name].bad, reports[name].status) == (bad, 2)


def test_a_cut_is_told_with_its_time(reports: Mapping[str, Report]) -> None:
    for what in ("idle stream", "idle WebSocket"):
        told = re.match(r"Cut after (\d+\.\d) s", reports["idle cut"].seen(what))
        assert told
        assert 4.0 <= float(told[1]) < HEARTBEAT


def test_a_server_that_cannot_stream_is_told_by_its_answer(reports: Mapping[str, Report]) -> None:
    assert "501" in reports["WSGI"].seen("server")


def test_processes_that_hear_nothing_of_one_another_are_a_warning(reports: Mapping[str, Report]) -> None:
    assert (reports["two processes"].bad, reports["two processes"].status) == ({"processes": "warning"}, 1)
    assert "One process" in reports["sound"].seen("processes")


def test_streams_without_the_wrapper_are_a_warning(reports: Mapping[str, Report]) -> None:
    assert (reports["plain"].bad, reports["plain"].status) == ({"server": "warning"}, 1)
