"""The way of a WebSocket through the site's proxies: the handshake, frames both ways, and silence."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Final

from .line import CLOSE, PING, SocketLine
from .silence import silence_verdict
from .site import FAILURES, Site
from .verdicts import Verdict, fault, ok
from .visitor import Visitor

_UPGRADE: Final = (
    "Have the proxy pass the upgrade on. nginx: proxy_http_version 1.1, proxy_set_header Upgrade $http_upgrade,"
    " proxy_set_header Connection $connection_upgrade; see docs/deployment.md, Proxies. The server needs uvicorn with"
    " --ws wsproto and a route for websockets in asgi.py."
)
_ORIGIN: Final = "Put the site's name into ALLOWED_HOSTS, and have the proxy pass Host and Origin on as they came."


class SocketPath:
    """The checks of one WebSocket; ``idle`` only after ``check`` has found that it is open."""

    def __init__(self, site: Site, visitor: Visitor) -> None:
        self._site = site
        self._room = visitor.conversation.public_id
        self._line: SocketLine | None = None

    def check(self) -> Iterator[Verdict]:
        """Shake hands and join the visitor's conversation."""
        try:
            line = SocketLine(self._site)
        except FAILURES as error:
            yield fault("WebSocket", f"The handshake fails: {type(error).__name__}: {error}", _UPGRADE)
            return
        if line.status != 101:
            seen = f"The handshake is answered with {line.status} instead of 101."
            yield fault("WebSocket", seen, _ORIGIN if line.status == 403 else _UPGRADE)
            line.close()
            return
        self._line = line
        try:
            yield self._joined(line)
        except FAILURES as error:
            yield fault("WebSocket", f"After the handshake nothing comes: {type(error).__name__}.", _UPGRADE)

    def _joined(self, line: SocketLine) -> Verdict:
        line.send("join", room=self._room)
        while (frame := line.read()).opcode != CLOSE:
            if frame.type == "joined":
                return ok("WebSocket", "The handshake is answered with 101, and frames pass both ways.")
            if frame.type == "error":
                code = frame.data["error"]["code"]
                return fault("WebSocket", f"Joining a conversation is refused: {code}.", "See docs/websocket.md.")
        fix = "See the close codes in docs/websocket.md."
        if frame.close_code == 4401:
            fix = "Wrap the route in channels.auth.AuthMiddlewareStack, and have the proxy pass cookies on."
        return fault("WebSocket", f"The socket is closed at once, with {frame.close_code}.", fix)

    def idle(self, seconds: float) -> Verdict:
        """Leave the socket silent for so long; it must stay, and be kept alive."""
        line = self._line
        assert line is not None  # noqa: S101
        quiet, beats, cut = monotonic(), 0, False
        try:
            while (left := quiet + seconds - monotonic()) > 0 and not cut:
                line.wait(left)
                frame = line.read()
                beats += frame.type == "pong" or frame.opcode == PING
                cut = frame.opcode == CLOSE
        except TimeoutError:
            pass
        except FAILURES:
            cut = True
        return silence_verdict("idle WebSocket", seconds, monotonic() - quiet, beats, cut=cut)

    def close(self) -> None:
        """Break the socket off."""
        if self._line:
            self._line.close()
