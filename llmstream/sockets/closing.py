"""Why a socket is closed."""

from __future__ import annotations

from enum import IntEnum

from ..exceptions import LLMStreamError


class CloseCode(IntEnum):
    """The close codes of docs/websocket.md; the first two digits tell the client what to do."""

    MALFORMED = 4001
    FRAME_TOO_LARGE = 4013
    SHUTDOWN = 4100
    FAILED = 4101
    SLOW = 4108
    SILENT = 4112
    RATE_LIMITED = 4129
    LIFETIME = 4200
    NOT_AUTHENTICATED = 4401
    REFUSED = 4403
    TOO_MANY = 4429


class Closing(Exception):
    """The socket must be closed: with a code, after an ``error`` frame that repeats ``ref`` when there is an error."""

    def __init__(self, code: CloseCode, error: LLMStreamError | None = None, ref: str | float | None = None) -> None:
        self.code = code
        self.error = error
        self.ref = ref
        super().__init__(code.name)


class SocketClosed(Exception):
    """The socket takes nothing any more."""
