"""Second half of ``make cluster``, inside its virtual environment: the servers, the site, and an eye on them all."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, TypeVar

import psycopg

from .demo_site import listen, prepare_model, prepare_site
from .environment import ROOT, say
from .services.nginx import NginxServer
from .services.postgres import PostgresServer
from .services.postgres_files import shared_directory
from .services.server import Server, ServerError
from .services.valkey import ValkeyServer
from .services.web import WebServer
from .services.worker import Worker

WEB_PROCESSES: Final = 2
CHECK_INTERVAL: Final = 0.2
RETRY_DELAY: Final = 1.0
#: A process that ends more often than this within a minute is not started again.
MOST_RESTARTS: Final = 5
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Unlike tests, people expect to find their conversations again after a crash of the machine.
DURABLE: Final = {"fsync": "on", "full_page_writes": "on"}

S = TypeVar("S", bound=Server)


class Cluster:
    """Every process of the site and the servers around it; data in ``home``, a log for each in ``home/logs``."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self.home = home
        self.logs = home / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.url = ""
        self._stack = stack
        self._servers: dict[str, Server] = {}
        self._restarts: dict[str, deque[float]] = {}

    def start(self) -> None:
        """Start everything, each part after those that it needs, and return once the address answers."""
        with listen() as listener:
            port = int(listener.getsockname()[1])
        data = shared_directory(self.home / "postgresql") / "data"
        postgres = self._start(PostgresServer(data, settings=DURABLE, log=self._log("postgresql")))
        valkey = self._start(ValkeyServer(log=self._log("valkey")))
        os.environ["DATABASE_URL"] = database(postgres)
        os.environ["REDIS_URL"] = valkey.url
        os.environ["LLMSTREAM_DEMO_RUNNER"] = "worker"
        prepare_site()
        names = [f"web-{number}" for number in range(1, WEB_PROCESSES + 1)]
        webs = [WebServer("project.asgi:application", log=self._log(name)) for name in names]
        site = {**dict(zip(names, webs, strict=True)), "worker": Worker(log=self._log("worker"))}
        for name, server in site.items():
            say(f"==> {name}")
            self.add(server, name).launch()
        for server in site.values():
            server.wait_ready()
        self.url = self._start(NginxServer([web.port for web in webs], port, self._log("nginx"))).url

    def add(self, server: S, name: str) -> S:
        """Have ``follow`` watch a server and ``stop`` end it; return it."""
        self._servers[name] = server
        self._stack.callback(server.close)
        return server

    def follow(self) -> None:
        """Start again whatever ends, and say so, until interrupted; ServerError when something keeps ending."""
        while True:
            for name, server in self._servers.items():
                if (status := server.status) is not None:
                    say(f"{name} has ended with status {status}; starting it again. Its log: {server.log}")
                    self._start_again(name, server)
                    say(f"{name} runs again as process {server.pid}.")
            time.sleep(CHECK_INTERVAL)

    def stop(self) -> None:
        """End everything cleanly: first those that use the others, together."""
        say("Stopping.")
        for name in reversed(self._servers):
            if name not in {"PostgreSQL", "Valkey"}:
                self._servers[name].terminate()
        self._stack.close()

    def __str__(self) -> str:
        """The address, and what there is to look at and to kill."""
        rows = [f"    {name:<10}  process {server.pid}" for name, server in self._servers.items()]
        rows = [*rows, f"    logs        {self.logs}"]
        return "\n".join([f"\n  {self.url}/   (Ctrl-C ends it)\n", *rows, ""])

    def _log(self, name: str) -> Path:
        log = self.logs / f"{name}.log"
        log.unlink(missing_ok=True)
        return log

    def _start(self, server: S) -> S:
        say(f"==> {server.name}")
        self.add(server, server.name).start()
        return server

    def _start_again(self, name: str, server: Server) -> None:
        while True:
            self._count(name, server)
            try:
                server.start()
            except ServerError as error:
                # PostgreSQL, for one, refuses as long as a process of the killed server has not ended.
                say(str(error))
                time.sleep(RETRY_DELAY)
            else:
                return

    def _count(self, name: str, server: Server) -> None:
        times = self._restarts.setdefault(name, deque(maxlen=MOST_RESTARTS))
        now = time.monotonic()
        if len(times) == MOST_RESTARTS and now - times[0] < 60:
            raise ServerError(f"{name} keeps ending; its log: {server.log}")
        times.append(now)


def database(postgres: PostgresServer) -> str:
    """Return the URL of the site's database, made if it is missing."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'llmstream'").fetchone():
            connection.execute("CREATE DATABASE llmstream")
    return postgres.dsn("llmstream")


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the directory against another cluster; SystemExit when there is one."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"Another cluster runs on {home}.") from None
        yield


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End the cluster once; those who ask again get the same end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Start, watch, and stop when interrupted."""
    parser = argparse.ArgumentParser(prog="tools.cluster", description="The demo site on several processes.")
    parser.add_argument("--directory", type=Path, default=ROOT / ".cluster", help="data and logs (%(default)s)")
    home = parser.parse_args().directory.resolve()
    for number in SIGNALS:
        signal.signal(number, interrupt)
    with only_one(home), ExitStack() as stack:
        cluster = Cluster(home, stack)
        try:
            prepare_model()
            cluster.start()
            say(str(cluster))
            cluster.follow()
        except KeyboardInterrupt:
            cluster.stop()
        except ServerError as error:
            raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
