"""The site under test: processes, database, layer and model, each behind a link, and what can befall them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, LiteralString, Self

import psycopg

from tests.live.api import Api
from tests.live.proxy import Cut
from tests.live.servers import Database, LiveServer, copy_postgres, copy_sqlite, prepare
from tests.live.upstream_models import API_KEY, PROVIDER
from tests.upstream import Upstream
from tools.services.postgres import PostgresServer
from tools.services.valkey import ValkeyServer

from .links import Link
from .plan import INSIDE, Act, Plan

_PACED: Final = "tests.live.sites.provider.PacedProvider"
#: What becomes of an insert while there is no room, with the code that PostgreSQL has for that.
_FULL: Final = """
CREATE FUNCTION chaos_full() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER chaos_full BEFORE INSERT ON llmstream_event EXECUTE FUNCTION chaos_full();
"""
_ROOM: Final = "DROP TRIGGER chaos_full ON llmstream_event; DROP FUNCTION chaos_full();"


@dataclass(slots=True)
class Services:
    """What runs for as long as runs follow each other: databases to copy, a layer and a model."""

    postgres: PostgresServer
    valkey: ValkeyServer
    templates: Mapping[str, Database]
    numbers: Iterator[int]

    @classmethod
    @contextlib.contextmanager
    def running(cls, home: Path) -> Iterator[Self]:
        """Start them, and end them with the block."""
        with PostgresServer() as postgres, ValkeyServer() as valkey:
            with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
                connection.execute("CREATE DATABASE chaos_template")
            templates = {
                "postgres": prepare(postgres.dsn("chaos_template")),
                "sqlite": prepare(f"sqlite:///{home / 'template.sqlite3'}"),
            }
            yield cls(postgres, valkey, templates, count(1))

    def database(self, kind: str, home: Path) -> Database:
        """Copy a prepared database."""
        name = f"chaos_{next(self.numbers)}"
        if kind == "sqlite":
            return copy_sqlite(self.templates[kind], home / f"{name}.sqlite3")
        return copy_postgres(self.postgres, self.templates[kind], name)


class Site:
    """The processes of one run. Only while the ``async with`` block lasts."""

    def __init__(self, plan: Plan, services: Services, home: Path) -> None:
        self.plan = plan
        self.services = services
        self.upstream = Upstream()
        self.database = services.database(plan.database, home)
        self._home = home
        self._held = contextlib.AsyncExitStack()
        self._lock: sqlite3.Connection | None = None
        self.webs: list[LiveServer] = []
        self.links: list[Link] = []
        self.behind: dict[str, Link] = {}

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._held.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._held.aclose()

    async def _start(self) -> None:
        self._held.enter_context(self.upstream)
        ports = {"upstream": int(self.upstream.root.rpartition(":")[2])}
        if self.plan.layer:
            ports["layer"] = self.services.valkey.port
        if self.plan.database == "postgres":
            ports["postgres"] = self.services.postgres.port
        if self.plan.linked:
            for name in ports:
                self.behind[name] = await self._link(name, ports[name])
                ports[name] = self.behind[name].port
        for number in range(self.plan.webs):
            web = self._web(number, ports)
            self._held.callback(web.kill)
            self.webs.append(web)
        for number, web in enumerate(self.webs):
            await asyncio.to_thread(web.wait_ready)
            self.links.append(await self._link(f"link {number}", web.port))

    async def _link(self, name: str, port: int) -> Link:
        return await self._held.enter_async_context(Link(port, self.plan.luck(name)))

    def _web(self, number: int, ports: Mapping[str, int]) -> LiveServer:
        database, env, settings = self.database, {}, "tests.live.sites.base"
        if port := ports.get("postgres"):
            name = database.url.rpartition("/")[2]
            database = replace(database, url=f"postgresql://postgres@127.0.0.1:{port}/{name}")
        llmstream = {**self.plan.llmstream, "MODELS": self._models(ports["upstream"]), "DEFAULT_MODEL": INSIDE[0]}
        if port := ports.get("layer"):
            env["REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
            settings = "tests.live.sites.cluster"
            llmstream["BROKER"] = "llmstream.brokers.channels.ChannelsBroker"
        settings = self.plan.settings or settings
        log = self._home / f"web-{number}.log"
        return LiveServer("uvicorn-wsproto", database, log, settings=settings, llmstream=llmstream, env=env).start()

    def _models(self, port: int) -> dict[str, dict[str, Any]]:
        options = {"base_url": f"http://127.0.0.1:{port}/v1", "api_key": API_KEY, "max_retries": 0}
        models: dict[str, dict[str, Any]] = {
            INSIDE[0]: {"PROVIDER": _PACED},
            INSIDE[1]: {"PROVIDER": _PACED, "RECOVERY": ["retry", "continue"]},
        }
        for name in set(self.plan.models) - set(INSIDE):
            # Only where silence is meant: a busy machine is silent, too.
            patience = 1.5 if name.startswith("silent") else 20.0
            models[name] = {"PROVIDER": PROVIDER, "MODEL": name, "OPTIONS": options, "TOKEN_TIMEOUT": patience}
        return models

    def apis(self, user: str, *, direct: bool = False) -> list[Api]:
        """A user at each process, over the links unless ``direct``."""
        account = self.database.accounts[user]
        return [Api(place.url, account) for place in (self.webs if direct else self.links)]

    async def begin(self, act: Act) -> None:
        """Let a fault happen."""
        match act.target:
            case "web":
                await asyncio.to_thread(self._strike, self.webs[act.number], act.what)
            case "link":
                _disturb(self.links[act.number], act.what)
            case "sqlite" if act.what == "lock":
                self._lock = await asyncio.to_thread(_locked, self.database)
            case "sqlite":
                self._fill()
            case "postgres" if act.what in {"restart", "terminate", "full"}:
                await asyncio.to_thread(self._hit_postgres, act.what)
            case "layer" if act.what in {"kill", "pause", "flush"}:
                await asyncio.to_thread(getattr(self.services.valkey, act.what))
            case name:
                _disturb(self.behind[name], act.what)

    async def end(self, act: Act) -> None:
        """Let it be over."""
        match act.target, act.what:
            case "web", _:
                await asyncio.to_thread(self._revive, self.webs[act.number], act.what)
            case "link", _:
                self.links[act.number].clear()
            case "sqlite", _:
                self._free()
            case "postgres", "restart":
                await asyncio.to_thread(self.services.postgres.start)
            case "postgres", "full":
                await asyncio.to_thread(self._ask_postgres, _ROOM)
            case "layer", "kill":
                await asyncio.to_thread(self.services.valkey.start)
            case "layer", "pause":
                await asyncio.to_thread(self.services.valkey.resume)
            case name, what if what not in {"terminate", "flush"}:
                self.behind[name].clear()

    def _strike(self, web: LiveServer, what: str) -> None:
        if what == "pause":
            os.kill(web.pid, signal.SIGSTOP)
        elif what == "kill":
            web.kill()
        else:
            web.terminate()

    def _revive(self, web: LiveServer, what: str) -> None:
        if what == "pause":
            os.kill(web.pid, signal.SIGCONT)
        else:
            web.start().wait_ready()

    def _hit_postgres(self, what: str) -> None:
        if what == "restart":
            self.services.postgres.kill()
        elif what == "full":
            self._ask_postgres(_FULL)
        else:
            self._ask_postgres(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def _ask_postgres(self, statements: LiteralString) -> None:
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            connection.execute(statements)

    def _fill(self) -> None:
        """Leave the processes no room: a file of theirs can grow no further than it is."""
        size = max(file.stat().st_size for file in self._files())
        for web in self.webs:
            if web.process:
                resource.prlimit(web.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def _free(self) -> None:
        """Give lock and room back."""
        if self._lock is not None:
            self._lock.rollback()
            self._lock.close()
            self._lock = None
        for web in self.webs:
            if web.process:
                resource.prlimit(web.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _files(self) -> list[Path]:
        file = Path(self.database.url.removeprefix("sqlite:///"))
        return [found for found in (file, file.with_name(f"{file.name}-wal")) if found.exists()]


def _disturb(link: Link, what: str) -> None:
    match what:
        case "cut":
            link.cut_all(rst=True)
        case "refuse":
            link.refuse = True
            link.cut_all(rst=False)
        case "half-open":
            link.hold(mute=False)
        case "black hole":
            link.hold()
        case "slow":
            link.rate = 4_000.0
        case "far":
            link.latency, link.jitter = 0.05, 0.2
        case "brittle":
            link.cut = brittle


def brittle(luck: random.Random) -> Cut:
    """Break a connection after a few bytes or events."""
    if luck.random() < 0.5:
        return Cut(events=luck.randint(0, 12), rst=luck.random() < 0.5)
    return Cut(raw=luck.randint(1, 4_000), rst=luck.random() < 0.5)


def _locked(database: Database) -> sqlite3.Connection:
    """Take the one write lock that SQLite has."""
    file = database.url.removeprefix("sqlite:///")
    connection = sqlite3.connect(file, timeout=20, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    return connection
