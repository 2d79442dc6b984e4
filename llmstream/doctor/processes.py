"""How many processes answer for the site, and whether they hear of one another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ..conf import get_settings, import_setting
from ..events import READY
from .site import FAILURES, PATIENCE, Site
from .stream import Stream
from .verdicts import Verdict, ok, warning
from .visitor import Visitor

#: Streams that are opened: one of two processes answers all of them once in some thousand times, if it is by chance.
_STREAMS: Final = 12
_FIX: Final = (
    "Have BROKER be llmstream.brokers.channels.ChannelsBroker, over a channel layer on a Redis or Valkey that all"
    " processes reach."
)


def check_processes(site: Site, visitor: Visitor) -> Iterator[Verdict]:
    """Open streams side by side and see which processes answer."""
    url = f"conversations/{visitor.conversation.public_id}/events/?ready=1"
    with ThreadPoolExecutor(_STREAMS) as visitors:
        told = visitors.map(lambda _: _process(site, url), range(_STREAMS))
    if not (found := {process for process in told if process}):
        return
    settings = get_settings()
    if len(found) == 1:
        yield ok("processes", f"One process has answered {_STREAMS} streams.")
    elif import_setting(settings.broker).needs_channel_layer:
        yield ok("processes", f"{len(found)} processes have answered, and BROKER tells them of one another's news.")
    else:
        seen = (
            f"{len(found)} processes have answered, and BROKER tells them nothing of one another: readers get what"
            f" another one writes up to {settings.poll_interval:g} s late, and nobody sees who is typing there."
        )
        yield warning("processes", seen, _FIX)


def _process(site: Site, url: str) -> str:
    try:
        with Stream(site, url) as stream:
            first = stream.wait(lambda arrival: bool(arrival.type and arrival.data), stream.opened + PATIENCE)
            return str(first.data.get("process", "")) if first and first.type == READY else ""
    except FAILURES:
        return ""
