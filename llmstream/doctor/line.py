"""One WebSocket as a client has it: the handshake, and frames both ways."""

from __future__ import annotations

import base64
import json
import os
import struct
from typing import Any, Final, NamedTuple

from .site import Site

TEXT: Final = 1
CLOSE: Final = 8
PING: Final = 9


class SocketFrame(NamedTuple):
    """A frame from the server."""

    opcode: int
    payload: bytes

    @property
    def close_code(self) -> int:
        """The code of a close frame; 1005 when it has none."""
        return int(struct.unpack("!H", self.payload[:2])[0]) if len(self.payload) > 1 else 1005

    @property
    def data(self) -> dict[str, Any]:
        """The JSON object of llmstream in a text frame; empty for any other frame."""
        found: dict[str, Any] = json.loads(self.payload) if self.opcode == TEXT else {}
        return found

    @property
    def type(self) -> str:
        """The type of that object."""
        return str(self.data.get("type", ""))


class SocketLine:
    """A socket from its handshake on, which may have been refused: ``status`` is 101 when it was not.

    Everything raises one of ``site.FAILURES`` when the connection breaks or what is due does not come in time.
    """

    def __init__(self, site: Site, origin: str | None = None, query: str = "") -> None:
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Origin": site.origin if origin is None else origin,
        }
        self._answer = site.get(site.socket_url + query, headers)
        self.status = self._answer.status

    def send(self, kind: str, **members: Any) -> None:
        """Send one of llmstream's frames."""
        self.send_text(json.dumps({"type": kind, **members}).encode())

    def send_text(self, payload: bytes) -> None:
        """Send bytes, which need be no UTF-8, as a text frame."""
        mask = os.urandom(4)
        covered = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self._answer.socket.sendall(struct.pack("!B", 0x80 | TEXT) + _length(len(payload)) + mask + covered)

    def wait(self, seconds: float) -> None:
        """Let the next frames take so long."""
        self._answer.socket.settimeout(seconds)

    def read(self) -> SocketFrame:
        """Return the next frame."""
        first, second = self._exactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._exactly(8))
        return SocketFrame(first & 0x0F, self._exactly(length))

    def close(self) -> None:
        """Break the socket off."""
        self._answer.cut()
        self._answer.close()

    def _exactly(self, length: int) -> bytes:
        # Through the response's own buffer, which may hold frames that came along with its head.
        data: Any = self._answer.response.fp.read(length) if length else b""
        if len(data) < length:
            raise ConnectionResetError
        return bytes(data)


def _length(size: int) -> bytes:
    """Write the length of a masked frame, in as few bytes as it takes."""
    if size < 126:
        return struct.pack("!B", 0x80 | size)
    return struct.pack("!BH", 0x80 | 126, size) if size < 1 << 16 else struct.pack("!BQ", 0x80 | 127, size)
