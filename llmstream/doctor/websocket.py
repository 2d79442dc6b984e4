"""The way of a WebSocket through the site's proxies: the handshake, frames both ways, and silence."""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Iterator
from time import monotonic
from typing import Any, Final, NamedTuple

from .silence import silence_verdict
from .site import FAILURES, Answer, Site
from .verdicts import Verdict, fault, ok
from .visitor import Visitor

_TEXT, _CLOSE, _PING = 1, 8, 9
_UPGRADE: Final = (
    "Have the proxy pass the upgrade on. nginx: proxy_http_version 1.1, proxy_set_header Upgrade $http_upgrade,"
    " proxy_set_header Connection $connection_upgrade; see docs/deployment.md, Proxies. The server needs uvicorn with"
    " --ws wsproto and a route for websockets in asgi.py."
)
_ORIGIN: Final = "Put the site's name into ALLOWED_HOSTS, and have the proxy pass Host and Origin on as they came."


class SocketFrame(NamedTuple):
    """A frame from the server."""

    opcode: int
    payload: bytes

    @property
    def close_code(self) -> int:
        """The code of a close frame; 1005 when it has none."""
        return int(struct.unpack("!H", self.payload[:2])[0]) if len(self.payload) > 1 else 1005

    @property
    def type(self) -> str:
        """The type of llmstream's JSON object in a text frame."""
        return str(json.loads(self.payload).get("type", "")) if self.opcode == _TEXT else ""


class SocketPath:
    """The checks of one WebSocket; ``idle`` only after ``check`` has found that it is open."""

    def __init__(self, site: Site, visitor: Visitor) -> None:
        self._site = site
        self._room = visitor.conversation.public_id
        self._answer: Answer | None = None

    def check(self) -> Iterator[Verdict]:
        """Shake hands and join the visitor's conversation."""
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Origin": self._site.origin,
        }
        try:
            answer = self._site.get(self._site.socket_url, headers)
        except FAILURES as error:
            yield fault("WebSocket", f"The handshake fails: {type(error).__name__}: {error}", _UPGRADE)
            return
        if answer.status != 101:
            seen = f"The handshake is answered with {answer.status} instead of 101."
            yield fault("WebSocket", seen, _ORIGIN if answer.status == 403 else _UPGRADE)
            answer.close()
            return
        self._answer = answer
        try:
            yield self._joined(answer)
        except FAILURES as error:
            yield fault("WebSocket", f"After the handshake nothing comes: {type(error).__name__}.", _UPGRADE)

    def _joined(self, answer: Answer) -> Verdict:
        answer.socket.sendall(_masked(json.dumps({"type": "join", "room": self._room}).encode()))
        while (frame := _read(answer)).opcode != _CLOSE:
            if frame.type == "joined":
                return ok("WebSocket", "The handshake is answered with 101, and frames pass both ways.")
            if frame.type == "error":
                code = json.loads(frame.payload)["error"]["code"]
                return fault("WebSocket", f"Joining a conversation is refused: {code}.", "See docs/websocket.md.")
        fix = "See the close codes in docs/websocket.md."
        if frame.close_code == 4401:
            fix = "Wrap the route in channels.auth.AuthMiddlewareStack, and have the proxy pass cookies on."
        return fault("WebSocket", f"The socket is closed at once, with {frame.close_code}.", fix)

    def idle(self, seconds: float) -> Verdict:
        """Leave the socket silent for so long; it must stay, and be kept alive."""
        answer = self._answer
        assert answer is not None  # noqa: S101
        quiet, beats, cut = monotonic(), 0, False
        try:
            while (left := quiet + seconds - monotonic()) > 0 and not cut:
                answer.socket.settimeout(left)
                frame = _read(answer)
                beats += frame.type == "pong" or frame.opcode == _PING
                cut = frame.opcode == _CLOSE
        except TimeoutError:
            pass
        except FAILURES:
            cut = True
        return silence_verdict("idle WebSocket", seconds, monotonic() - quiet, beats, cut=cut)

    def close(self) -> None:
        """Break the socket off."""
        if self._answer:
            self._answer.cut()
            self._answer.close()


def _masked(payload: bytes) -> bytes:
    mask = os.urandom(4)
    covered = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return struct.pack("!BB", 0x80 | _TEXT, 0x80 | len(payload)) + mask + covered


def _read(answer: Answer) -> SocketFrame:
    """Read one frame; raises one of FAILURES, ConnectionError when the connection is over."""
    first, second = _exactly(answer, 2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", _exactly(answer, 2))
    elif length == 127:
        (length,) = struct.unpack("!Q", _exactly(answer, 8))
    return SocketFrame(first & 0x0F, _exactly(answer, length))


def _exactly(answer: Answer, length: int) -> bytes:
    # Through the response's own buffer, which may hold frames that came along with its head.
    data: Any = answer.response.fp.read(length) if length else b""
    if len(data) < length:
        raise ConnectionResetError
    return bytes(data)
