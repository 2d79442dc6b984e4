"""An nginx with the documented site, and beside it sites that each do one thing wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tools.services.nginx import NginxServer
from tools.services.ports import free_port

#: What is wrong with each site, as directives of its one location. The buffering one stands before the documented site,
#: as in front of a cluster: to HTTP/1.0 that one answers without chunks, so that nginx waits for a whole buffer.
FAULTS: Final = {
    "buffering": "proxy_http_version 1.0; proxy_ignore_headers X-Accel-Buffering;",
    "gzip": "gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 1;",
    "no upgrade": "",
    "origin": 'proxy_set_header Origin "https://elsewhere.example";',
    "idle cut": "proxy_read_timeout 5s;",
    "two processes": "",
    "forgetful": 'proxy_set_header Last-Event-ID ""; set $args "";',
}
_UPGRADE: Final = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;"
_SITE: Final = """
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://{upstream};
        proxy_set_header Host $http_host;
        {directives}
    }}
}}
"""


class FaultyProxies(NginxServer):
    """Passes requests to the server on the loopback port ``upstream``, at one site in turns with that on ``other``."""

    def __init__(self, upstream: int, other: int = 0) -> None:
        super().__init__([upstream])
        self._turns = f"upstream turns {{ server 127.0.0.1:{upstream}; server 127.0.0.1:{other or upstream}; }}"
        self._ports = {fault: free_port() for fault in FAULTS}

    def url_of(self, fault: str) -> str:
        """Base URL of the site with this fault, without a trailing slash."""
        return f"http://127.0.0.1:{self._ports[fault]}"

    def command(self) -> list[str | Path]:
        """Nginx with all sites."""
        command = super().command()
        with (self._home / "site.conf").open("a") as sites:
            sites.write(self._turns)
            for fault, port in self._ports.items():
                upgrade = "" if fault == "no upgrade" else _UPGRADE
                upstream = {"buffering": f"127.0.0.1:{self.port}", "two processes": "turns"}.get(fault, "llmstream")
                sites.write(_SITE.format(port=port, upstream=upstream, directives=f"{upgrade} {FAULTS[fault]}"))
        return command
