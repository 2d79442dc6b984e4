"""Notifications between processes: an answer runs at one server, and its people listen at another."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import httpx_sse
import psycopg
import pytest

from tools.services.postgres import PostgresServer
from tools.services.valkey import ValkeyServer

from .api import Api
from .clients import PATIENCE
from .conftest import CALM, Rig
from .servers import prepare
from .sites.provider import script

SETTINGS = "tests.live.sites.notifying"


@pytest.mark.parametrize(("program", "kind"), [("uvicorn", "sqlite"), ("daphne", "postgres")])
async def test_notifications_cross_processes_and_survive_a_reconnect(
    program: str, kind: str, rig: Rig, valkey_server: ValkeyServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    env = {"REDIS_URL": valkey_server.url}
    url = f"sqlite:///{tmp_path}/notifying.sqlite3"
    if kind == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE notifying")
        url = server.dsn("notifying")
    database = prepare(url, settings="tests.settings")
    broker = {**CALM, "BROKER": "llmstream.brokers.channels.ChannelsBroker"}
    servers = [rig.launch(program, database, settings=SETTINGS, env=env, llmstream=broker) for _ in range(2)]
    here, there = (server.wait_ready() for server in servers)
    alice = Api(here.url, database.accounts["alice"])
    room = await alice.conversation()
    async with httpx.AsyncClient(
        base_url=there.url, cookies=alice.account.cookies, trust_env=False, timeout=PATIENCE
    ) as client:
        seen: list[tuple[str, str]] = []
        for last in (False, True):
            headers = {"Last-Event-ID": seen[-1][0]} if last else {}
            async with httpx_sse.aconnect_sse(client, "GET", "/notifications/", headers=headers) as source:
                async for event in source.aiter_sse():
                    if event.event == "stream-open" and not last:
                        await alice.send(script(3), to=room)
                    if event.event not in {"stream-open", "keep-alive"}:
                        assert json.loads(event.data)["conversation"] == room
                        seen.append((event.id, event.event))
                    if event.event == ("generation-finished" if last else "generation-started"):
                        break
    kinds = ["message-created", "message-created", "generation-started", "generation-finished"]
    assert list(dict(seen).values()) == kinds
