"""What is left silent must stay open and be kept alive, and what is sent must not be held back."""

from __future__ import annotations

from typing import Final

from ..conf import get_settings
from .verdicts import Verdict, fault, ok

#: Seconds for which the way and a busy server may hold up what comes by itself.
SLACK: Final = 2.0
#: What lets events and heartbeats through.
NO_BUFFERING: Final = (
    "Let the proxy pass the stream on as it comes. nginx: no proxy_ignore_headers X-Accel-Buffering, or proxy_buffering"
    " off for llmstream's addresses, and proxy_http_version 1.1. See docs/deployment.md, Proxies."
)


def silence_verdict(check: str, seconds: float, stayed: float, beats: int, *, cut: bool) -> Verdict:
    """Judge what was left silent for ``seconds``: how long it stayed and how often it was heard of."""
    heartbeat = get_settings().heartbeat
    if cut:
        seen = f"Cut after {stayed:.1f} s, although kept alive every {heartbeat:g} s."
        fix = "Raise the proxy's idle limit well above HEARTBEAT (nginx: proxy_read_timeout), or lower HEARTBEAT."
        return fault(check, seen, fix)
    if not beats and seconds >= heartbeat + SLACK:
        return fault(check, f"No sign of life in {seconds:g} s; one is due every {heartbeat:g} s.", NO_BUFFERING)
    return ok(check, f"Open after {stayed:.0f} s without events, with {beats} signs of life.")
