"""One open event stream, read in a thread that notes when everything arrived."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Self

from .site import FAILURES, Site

#: The type of a heartbeat.
COMMENT: Final = ":"
_READ_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame and when it arrived; ``type`` is that of its event, or COMMENT, or empty."""

    at: float
    type: str = ""
    event_id: str = ""
    data: Any = None


class Stream:
    """A stream from its response's head on; a context manager that cuts the connection at its end.

    It answers a GET, or a POST of ``body``. ``ended`` is when the stream broke off or ended, or None.
    """

    def __init__(self, site: Site, url: str, body: Mapping[str, Any] | None = None, /, **headers: str) -> None:
        given = {"Accept": "text/event-stream", **{name.replace("_", "-"): text for name, text in headers.items()}}
        self.opened = monotonic()
        self.answer = site.get(url, given) if body is None else site.write("POST", url, body, given)
        self.arrivals: list[Arrival] = []
        self.ended: float | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True, name="llmstream-doctor")
        self.answer.socket.settimeout(None)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.answer.cut()
        self._thread.join()
        self.answer.close()

    def wait(self, wanted: Callable[[Arrival], bool], until: float, since: float = 0.0) -> Arrival | None:
        """Return the first wanted frame that came after ``since``, waiting for it; None when it does not come."""

        def found() -> Arrival | None:
            return next((arrival for arrival in self.arrivals if arrival.at >= since and wanted(arrival)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self.ended, max(0.0, until - monotonic()))
            return found()

    def _read(self) -> None:
        rest = b""
        with suppress(*FAILURES, ValueError):
            while piece := self.answer.response.read1(_READ_BYTES):
                *frames, rest = (rest + piece).split(b"\n\n")
                with self._changed:
                    self.arrivals += [_arrival(frame.decode(errors="replace")) for frame in frames]
                    self._changed.notify_all()
        with self._changed:
            self.ended = monotonic()
            self._changed.notify_all()


def _arrival(frame: str) -> Arrival:
    if frame.startswith(":"):
        return Arrival(monotonic(), COMMENT)
    fields = dict(line.split(": ", 1) for line in frame.split("\n") if ": " in line)
    data = None
    with suppress(ValueError):
        data = json.loads(fields.get("data", "null"))
    return Arrival(monotonic(), fields.get("event", ""), fields.get("id", ""), data)
