"""Server-Sent Events framing (WHATWG HTML, section 9.2).

LF only, one ``data`` line, and ``id`` as the last line of an event: a widely used client takes an id over as soon as
its line is complete, so anything after it could be lost to a cut.
"""

from __future__ import annotations

from ..events import HEARTBEAT as HEARTBEAT_EVENT
from ..events import WireEvent, encode
from ..formats import WireFormat
from ..log.rows import Row

CONTENT_TYPE = "text/event-stream"

#: What every stream response carries. ``no-transform`` and ``X-Accel-Buffering`` keep proxies from holding it back.
HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


def encode_row(row: Row, event_id: str) -> bytes:
    """Frame a stored event."""
    return b"event: %b\ndata: %b\nid: %b\n\n" % (row.type.encode(), row.data, event_id.encode())


def encode_event(event: WireEvent, event_id: str | None) -> bytes:
    """Frame an event that is not stored; without an id the client keeps the one it has."""
    tail = b"" if event_id is None else b"id: %b\n" % event_id.encode()
    return b"event: %b\ndata: %b\n%b\n" % (event["type"].encode(), encode(event), tail)


def _encode_unstored(conversation: str, event: WireEvent, event_id: str | None) -> bytes:
    return encode_event(event, event_id)


HEARTBEAT = b": keep-alive\n\n"
#: For clients that asked for ``ready``: browsers do not tell them of comments.
HEARD_HEARTBEAT = HEARTBEAT + encode_event({"type": HEARTBEAT_EVENT}, None)

FORMAT: WireFormat[bytes] = WireFormat(encode_row, _encode_unstored, b"".join)


def encode_retry(milliseconds: int) -> bytes:
    """Tell the client how long to wait before it reconnects."""
    return b"retry: %d\n\n" % milliseconds
