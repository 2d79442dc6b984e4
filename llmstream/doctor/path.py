"""The way of an event stream through the site's proxies: held back, compressed, cut when idle, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Final
from urllib.parse import urlencode

from ..conf import get_settings
from ..events import ROTATE
from .silence import NO_BUFFERING, SLACK, silence_verdict
from .site import FAILURES, PATIENCE, Answer, Site
from .stream import COMMENT, Arrival, Stream
from .verdicts import Verdict, fault, ok, warning
from .visitor import Visitor, Written

#: What browsers say that they can unpack.
_BROWSER: Final = "gzip, deflate, br, zstd"
_EVENTS: Final = 3
#: Seconds between two of them.
_APART: Final = 0.3
_NO_COMPRESSION: Final = (
    "Leave text/event-stream out of what the proxy or a middleware compresses. nginx: out of gzip_types. A proxy that"
    " keeps to Cache-Control: no-transform does so by itself."
)


class Path:
    """The checks of the visitor's event stream, which go on from one to the next while there is something to go by."""

    def __init__(self, site: Site, visitor: Visitor) -> None:
        self._site = site
        self._visitor = visitor
        self._url = f"conversations/{visitor.conversation.public_id}/events/"
        self._written: list[Written] = []

    def check(self) -> Iterator[Verdict]:
        """Look at the head of a stream, at how it flows, and at how it goes on after a cut."""
        try:
            yield from self._head()
        except FAILURES as error:
            seen = f"The stream did not begin within {PATIENCE:g} s: {type(error).__name__}."
            yield fault("buffering", seen, NO_BUFFERING)

    def _head(self) -> Iterator[Verdict]:
        with Stream(self._site, self._url, Accept_Encoding=_BROWSER) as stream:
            answer = stream.answer
            kind, encoding = answer.header("Content-Type").lower(), answer.header("Content-Encoding").lower()
        if answer.status != 200 or not kind.startswith("text/event-stream"):
            yield self._no_stream(answer)
            return
        if encoding == "identity":
            seen = "An ASGI server streams, without StreamHandoff: every open stream keeps a thread."
            yield warning("server", seen, "Wrap the application in asgi.py in llmstream.http.handoff.StreamHandoff.")
        else:
            yield ok("server", "An ASGI server streams.")
        if encoding in ("", "identity"):
            yield ok("compression", "The stream is not compressed.")
        else:
            seen = f"The stream is compressed ({encoding}): events wait for the compressor."
            yield fault("compression", seen, _NO_COMPRESSION)
        yield from self._flow()

    def _no_stream(self, answer: Answer) -> Verdict:
        kind = answer.header("Content-Type") or "no type"
        if answer.status == 501:
            seen = "The server speaks WSGI (501): it cannot stream."
            fix = "Serve ASGI_APPLICATION with uvicorn; for runserver put 'daphne' first in INSTALLED_APPS."
            return fault("server", seen, fix)
        if answer.status == 403:
            fix = "The stream seems to come from another site: have the proxy pass Host and Origin on as they came."
            return fault("server", "The stream is refused (403).", fix)
        fix = "See the server's and the proxy's logs: something before llmstream answers for it."
        return fault("server", f"The stream is answered with {answer.status} and {kind}.", fix)

    def _flow(self) -> Iterator[Verdict]:
        with Stream(self._site, self._url) as stream:
            priming = stream.wait(_has_id, stream.opened + PATIENCE)
            late = None if priming is None else self._lateness(stream)
        if priming is None:
            seen = f"The first event did not come within {PATIENCE:g} s."
            yield fault("buffering", seen, NO_BUFFERING)
            return
        if late is None:
            seen = f"The first event came at once, later ones not within {_patience():g} s of their commit."
            yield fault("buffering", seen, NO_BUFFERING)
            return
        yield ok(
            "buffering",
            f"The first event came after {priming.at - stream.opened:.2f} s, later ones up to {late:.2f} s after their"
            f" commit here; servers look every {get_settings().poll_interval:g} s.",
        )
        yield self._resumed("resume by header", self._url, {"Last_Event_ID": self._written[0].event_id})
        query = urlencode({"last_event_id": self._written[0].event_id})
        yield self._resumed("resume by query", f"{self._url}?{query}", {})

    def _lateness(self, stream: Stream) -> float | None:
        """Write events; return how late the latest of them came, None when one did not come in time."""
        lateness = 0.0
        for _ in range(_EVENTS):
            written = self._visitor.write()
            self._written.append(written)
            arrival = stream.wait(_is(written), written.at + _patience())
            if arrival is None:
                return None
            lateness = max(lateness, arrival.at - written.at)
            stream.wait(lambda _: False, monotonic() + _APART)
        return lateness

    def _resumed(self, check: str, url: str, headers: dict[str, str]) -> Verdict:
        with Stream(self._site, url, **headers) as stream:
            last = stream.wait(_is(self._written[-1]), stream.opened + PATIENCE)
            found = [arrival.event_id for arrival in stream.arrivals if arrival.event_id]
        if found == [written.event_id for written in self._written[1:]]:
            return ok(check, "After a cut the stream goes on where it was.")
        lost = "the header Last-Event-ID" if headers else "the query string"
        if last is None:
            return fault(check, "After a cut the stream does not go on.", "See the server's and the proxy's logs.")
        seen = "After a cut the stream begins anew instead of going on."
        return fault(check, seen, f"Have the proxy pass {lost} on as it came, and cache nothing.")

    def idle(self, seconds: float) -> Verdict:
        """Leave a stream silent for so long; it must stay, and be kept alive by heartbeats."""
        with Stream(self._site, self._url) as stream:
            priming = stream.wait(_has_id, stream.opened + PATIENCE)
            quiet = priming.at if priming else stream.opened
            ended = stream.wait(lambda arrival: arrival.type == ROTATE, quiet + seconds)
            stayed = (stream.ended or monotonic()) - quiet
            beats = sum(arrival.type == COMMENT for arrival in stream.arrivals)
            cut = stream.ended is not None and ended is None
        return silence_verdict("idle stream", seconds, stayed, beats, cut=cut)


def _has_id(arrival: Arrival) -> bool:
    return bool(arrival.event_id)


def _is(written: Written) -> Callable[[Arrival], bool]:
    return lambda arrival: arrival.event_id == written.event_id


def _patience() -> float:
    return get_settings().poll_interval + SLACK
