"""The site as its clients reach it: addresses, and connections through whatever stands before it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from socket import SHUT_RDWR, socket
from typing import Final
from urllib.parse import urljoin, urlsplit

#: Seconds that a connection or the beginning of an answer may take.
PATIENCE: Final = 5.0
#: What goes wrong with connections.
FAILURES: Final = (OSError, HTTPException)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response whose body is still to be read, and the connection that it comes on."""

    response: HTTPResponse
    socket: socket
    connection: HTTPConnection

    @property
    def status(self) -> int:
        """The status code."""
        return self.response.status

    def header(self, name: str) -> str:
        """Return a header, empty when it is not there."""
        return self.response.getheader(name) or ""

    def cut(self) -> None:
        """Break the connection off, whoever reads from it."""
        with suppress(OSError):
            self.socket.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Give everything back."""
        self.response.close()
        self.connection.close()


@dataclass(frozen=True, slots=True)
class Site:
    """Where llmstream is mounted, where its socket is, and the cookie that signs the doctor in."""

    url: str
    socket_url: str
    cookie: str

    @property
    def origin(self) -> str:
        """Scheme, host and port, as browsers send them."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask for an address, below the mount unless it is whole; follows nothing, raises one of FAILURES."""
        url = urljoin(self.url, url)
        connection = _connect(url)
        try:
            parts = urlsplit(url)
            target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            connection.connect()
            line = connection.sock  # the connection forgets it when the response is the last one on it
            connection.request("GET", target, headers={"Cookie": self.cookie, "User-Agent": "llmstream", **headers})
            return Answer(connection.getresponse(), line, connection)
        except BaseException:
            connection.close()
            raise


def _connect(url: str) -> HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme in ("https", "wss"):
        return HTTPSConnection(parts.netloc, timeout=PATIENCE, context=ssl.create_default_context())
    return HTTPConnection(parts.netloc, timeout=PATIENCE)


def socket_url_of(url: str) -> str:
    """Return where the socket is unless the site has put it elsewhere: ``/ws/llmstream/`` on the same host."""
    parts = urlsplit(url)
    return f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}/ws/llmstream/"
