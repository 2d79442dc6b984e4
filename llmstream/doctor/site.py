"""The site as its clients reach it: addresses, and connections through whatever stands before it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from socket import SHUT_RDWR, socket
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from django.conf import settings as django_settings

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

    def error_code(self) -> str:
        """Read the body and return the code of llmstream's error envelope, empty for any other body."""
        with suppress(*FAILURES, ValueError, KeyError, TypeError):
            return str(json.loads(self.response.read())["error"]["code"])
        return ""

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
    """Where llmstream is mounted, where its socket is, and what signs the doctor in."""

    url: str
    socket_url: str
    cookie: str
    csrf_token: str

    @property
    def origin(self) -> str:
        """Scheme, host and port, as browsers send them."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask for an address, below the mount unless it is whole; follows nothing, raises one of FAILURES."""
        return self._ask("GET", url, headers)

    def write(self, method: str, url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
        """Send JSON as a page's script does, with ``headers`` over its own; follows nothing, raises one of FAILURES."""
        csrf = django_settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-")
        own = {
            "Content-Type": "application/json",
            csrf: self.csrf_token,
            "Origin": self.origin,
            "Referer": self.url,
        }
        return self._ask(method, url, {**own, **(headers or {})}, json.dumps(body).encode())

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        url = urljoin(self.url, url)
        connection = _connect(url)
        try:
            parts = urlsplit(url)
            target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            connection.connect()
            line = connection.sock  # the connection forgets it when the response is the last one on it
            given = {"Cookie": self.cookie, "User-Agent": "llmstream", **headers}
            connection.request(method, target, body, given)
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
