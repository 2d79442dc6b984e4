"""Everything that the doctor looks at, in the order in which one part needs the other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from .database import check_database, reachable
from .layer import check_layer
from .path import Path
from .processes import check_processes
from .requests import check_entrance, check_model, check_writing
from .settings import check_settings, system_messages, unreadable
from .site import Site
from .verdicts import Level, Verdict
from .visitor import Visitor
from .websocket import SocketPath


def examine_parts() -> Iterator[Verdict]:
    """Look at the settings, the database and the channel layer from this process."""
    messages = system_messages()
    yield from check_settings(messages)
    if not unreadable(messages):
        yield from check_database()
        yield from check_layer()


def can_visit() -> bool:
    """Whether a visitor can be made: the settings can be read and the database can be used."""
    return not unreadable(system_messages()) and reachable()


def examine_path(site: Site, visitor: Visitor, model: str, idle: float) -> Iterator[Verdict]:
    """Look at the way through the site's proxies.

    A ``model`` is asked if there is one; streams and sockets are left silent for ``idle`` seconds.
    """
    entrance = check_entrance(site, visitor)
    yield entrance
    if entrance.level is not Level.OK:
        return
    yield check_writing(site, visitor)
    path = Path(site, visitor)
    streams = list(path.check())
    yield from streams
    if _flows(streams):
        yield from check_processes(site, visitor)
    if model and _flows(streams):
        yield check_model(site, visitor, model)
    if not site.socket_url:
        yield from [path.idle(idle)] if idle and _flows(streams) else []
        return
    with closing(SocketPath(site, visitor)) as socket, ThreadPoolExecutor(1) as beside:
        found = list(socket.check())
        yield from found
        if idle:
            silent = beside.submit(socket.idle, idle) if _flows(found) else None
            yield from [path.idle(idle)] if _flows(streams) else []
            yield from [silent.result()] if silent else []


def _flows(verdicts: list[Verdict]) -> bool:
    return all(verdict.level is not Level.FAULT or verdict.check.startswith("resume") for verdict in verdicts)
