"""The data of server-sent events, however the bytes are cut."""

from __future__ import annotations

_START = b"data: "
_END = b"\n\n"


class EventData:
    """Splits one event stream into the data of its events; comments and other fields are left out.

    An event counts when its blank line has come, so the rest of a cut stream is never taken for an event.
    """

    __slots__ = ("_data", "_limit", "_rest", "overflow")

    def __init__(self, limit: int = 8 * 1024 * 1024) -> None:
        self._limit = limit
        #: Whether an event is longer than ``limit`` bytes, so that nothing more should be fed.
        self.overflow = False
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that ``chunk`` completes."""
        if not self._rest and not self._data and chunk.startswith(_START) and chunk.endswith(_END):
            events = chunk[6:-2].split(b"\n\ndata: ")
            if chunk.count(b"\n") == 2 * len(events) and b"\r" not in chunk:
                return events
        return self._feed_lines(chunk)

    def _feed_lines(self, chunk: bytes) -> list[bytes]:
        lines = (self._rest + chunk).splitlines(keepends=True)
        # A CR at the very end may be the first half of a CRLF.
        self._rest = b"" if not lines or lines[-1].endswith(b"\n") else lines.pop()
        events = []
        for ended in lines:
            line = ended.rstrip(b"\r\n")
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(_START) else line[5:])
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
        self.overflow = len(self._rest) + sum(map(len, self._data)) > self._limit
        return events
