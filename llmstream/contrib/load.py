"""What goes on in this process at the moment, counted on demand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..observers import Watched
from ..sockets.connection import Socket


@dataclass(frozen=True, slots=True)
class Load:
    """Open streams and sockets, generations at work, and conversations in which a prompt from here waits its turn."""

    streams: int
    sockets: int
    running: int
    waiting: int


def load_of(engines: Iterable[Watched]) -> Load:
    """Count over the engines of this process, from any thread."""
    known = list(engines)
    opened = [stream for engine in known for stream in list(engine.streams)]
    sockets = sum(isinstance(stream, Socket) for stream in opened)
    return Load(
        streams=len(opened) - sockets,
        sockets=sockets,
        running=sum(len(engine.runs) for engine in known),
        waiting=sum(len(engine.turns.queued) for engine in known),
    )
