"""Clients of the HTTP surface that share no code with the library.

Each reader pairs an HTTP client with an event stream parser. The ``follow_`` and ``poll_`` functions are resuming
clients: they go on through cuts until the answer has ended, and keep a history for the checker.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import aiohttp
import httpx
import httpx_sse
import sseclient

from .events import EventStreamParser
from .history import Connection, History, Received

#: What a broken connection looks like to these clients.
CUTS = (httpx.TransportError, aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError)
ACTIVE = {"queued", "running", "waiting"}
PATIENCE = 30.0
RECONNECT_DELAY = 0.03
# Making a TLS context takes longer than a request on loopback, and none of these clients needs one.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
http_client = partial(httpx.AsyncClient, verify=_NO_TLS, trust_env=False)
_THREADS = ThreadPoolExecutor(64, thread_name_prefix="sseclient")


class Refused(Exception):
    """The server answered with something else than a stream."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body
        super().__init__(f"{status} {body[:500]!r}")


@dataclass(frozen=True, slots=True)
class Call:
    """One request that asks for an event stream."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    json: Any = None
    #: Seconds of silence on the wire after which the reader gives up.
    timeout: float = PATIENCE

    def resumed(self, last_event_id: str) -> Call:
        """The same call with a ``Last-Event-ID``."""
        if not last_event_id:
            return self
        return replace(self, headers={**self.headers, "Last-Event-ID": last_event_id})

    def all_headers(self) -> dict[str, str]:
        """Headers with the cookies in them, and one connection for each call."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        given = {"Accept": "text/event-stream", "Connection": "close", **self.headers}
        return {**given, "Cookie": cookies} if cookies else given


Reader: TypeAlias = Callable[[Call], AsyncIterator[Received]]


def _received(kind: str, data: str, event_id: str) -> Received:
    event = json.loads(data)
    assert isinstance(event, dict), data
    assert event["type"] == kind, f"event {kind} carries {data}"
    return Received(event_id, kind, event)


async def read_httpx(call: Call) -> AsyncIterator[Received]:
    """httpx with httpx-sse."""
    async with http_client(timeout=call.timeout) as client:
        request = client.build_request(call.method, call.url, headers=call.all_headers(), json=call.json)
        response = await client.send(request, stream=True)
        try:
            if response.status_code != 200:
                raise Refused(response.status_code, await response.aread())
            previous = ""
            async for event in httpx_sse.EventSource(response).aiter_sse():
                if not event.data:  # this parser dispatches empty events after a bare retry or comment
                    continue
                # The parser repeats the last id on events that carry none.
                fresh, previous = event.id if event.id != previous else "", event.id
                yield _received(event.event, event.data, fresh)
        finally:
            await response.aclose()


async def read_aiohttp(call: Call) -> AsyncIterator[Received]:
    """aiohttp with the reference parser."""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=call.timeout)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(call.method, call.url, headers=call.all_headers(), json=call.json) as response,
    ):
        if response.status != 200:
            raise Refused(response.status, await response.read())
        assert response.content_type == "text/event-stream"
        parser = EventStreamParser()
        async for data in response.content.iter_any():
            for frame in parser.feed(data):
                yield _received(frame.type, frame.data, frame.id if frame.own_id else "")


async def read_sseclient(call: Call) -> AsyncIterator[Received]:
    """httpx's synchronous client with sseclient-py, in a thread; yields when the connection has ended."""
    received: list[Received] = []
    error = await asyncio.get_running_loop().run_in_executor(_THREADS, _read_blocking, call, received)
    for event in received:
        yield event
    if error is not None:
        raise error


def _read_blocking(call: Call, received: list[Received]) -> Exception | None:
    try:
        with (
            httpx.Client(timeout=call.timeout, verify=_NO_TLS, trust_env=False) as client,
            client.stream(call.method, call.url, headers=call.all_headers(), json=call.json) as response,
        ):
            if response.status_code != 200:
                return Refused(response.status_code, response.read())
            for event in sseclient.SSEClient(response.iter_bytes()).events():
                received.append(_received(event.event, event.data, event.id or ""))
    except httpx.TransportError as error:
        return error
    return None


#: Those that show events as they arrive, and all of them.
LIVE_READERS: dict[str, Reader] = {"httpx-sse": read_httpx, "aiohttp": read_aiohttp}
READERS: dict[str, Reader] = {**LIVE_READERS, "sseclient-py": read_sseclient}


async def connect(reader: Reader, call: Call, history: History, *, until: Callable[[Received], bool]) -> Connection:
    """Make one request and read it to its end, a cut, or the event that ``until`` accepts."""
    connection = Connection(call.headers.get("Last-Event-ID", ""))
    history.connections.append(connection)
    try:
        async with aclosing(reader(call)) as events:  # type: ignore[type-var]
            async for event in events:
                connection.status = 200
                connection.events.append(event)
                if until(event):
                    connection.ended = "left"
                    return connection
        connection.status = connection.status or 200
        connection.ended = "end"
    except Refused as refused:
        connection.status, connection.ended = refused.status, "end"
        if refused.status != 204:
            raise
    except CUTS as error:
        connection.ended = f"cut: {type(error).__name__}"
    return connection


async def wait_until(condition: Callable[[], object], *, patience: float = PATIENCE) -> None:
    """Wait until a condition holds, such as that a client has seen something; raises TimeoutError."""
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.02)


def never(event: Received) -> bool:
    """Read to the end of the stream."""
    return False


def ends(generation: str) -> Callable[[Received], bool]:
    """Accept the terminal event of a generation, or a snapshot that shows it ended."""

    def ended(event: Received) -> bool:
        if event.type == "snapshot":
            statuses = {item["id"]: item["status"] for item in event.data["generations"]}
            return statuses.get(generation, "running") not in ACTIVE
        return event.type == "message-end" and event.data["generation"] == generation

    return ended


async def follow(
    reader: Reader,
    call: Call,
    *,
    until: Callable[[Received], bool] = never,
    last_event_id: str = "",
    history: History | None = None,
    patience: float = PATIENCE,
) -> History:
    """Follow a stream through cuts until ``until`` accepts an event or the server answers 204.

    Without ``until`` this is an EventSource on a generation: it returns only after the 204 that tells it to stop.
    """
    history = history or History()
    async with asyncio.timeout(patience):
        while True:
            connection = await connect(reader, call.resumed(history.last_id or last_event_id), history, until=until)
            if connection.status == 204 or connection.ended == "left":
                return history
            if connection.ended != "end":
                await asyncio.sleep(RECONNECT_DELAY)


async def post_and_follow(
    reader: Reader, post: Call, events_url: Callable[[str], str], *, patience: float = PATIENCE
) -> tuple[History, str]:
    """POST a prompt, read the answer in the response, go on by GET after a cut; return history and generation.

    A client that was cut before it knew its generation repeats the POST, which its ``client_id`` makes safe.
    """
    history = History()
    async with asyncio.timeout(patience):
        while not (generation := _generation_in(history)):
            await connect(reader, post, history, until=never)
            if not history.connections[-1].events:
                await asyncio.sleep(RECONNECT_DELAY)
        if not history.terminals(generation):
            get = replace(post, method="GET", json=None, url=events_url(generation))
            await follow(reader, get, history=history, patience=patience)
    return history, generation


def _generation_in(history: History) -> str:
    for event in history.events:
        if found := event.data.get("generation"):
            return str(found)
    return ""


async def poll(
    call: Call,
    *,
    until: Callable[[Received], bool],
    last_event_id: str = "",
    wait: float = 5.0,
    patience: float = PATIENCE,
) -> History:
    """Follow a conversation by long poll until an event that ``until`` accepts."""
    history = History()
    after = last_event_id
    headers = {**call.all_headers(), "Accept": "application/json"}
    async with asyncio.timeout(patience):
        while True:
            connection = Connection(after)
            history.connections.append(connection)
            params = {"wait": str(wait), **({"after": after} if after else {})}
            try:
                async with http_client(timeout=call.timeout) as client:
                    response = await client.get(call.url, headers=headers, params=params)
            except CUTS as error:
                connection.ended = f"cut: {type(error).__name__}"
                await asyncio.sleep(RECONNECT_DELAY)
                continue
            connection.status, connection.ended = response.status_code, "end"
            if response.status_code != 200:
                raise Refused(response.status_code, response.content)
            page = response.json()
            for event in page["events"]:
                received = Received(event.get("id", ""), event["type"], event)
                connection.events.append(received)
                if until(received):
                    return history
            after = page["last_event_id"]
            if not page["events"]:  # a server that cannot wait answers at once
                await asyncio.sleep(RECONNECT_DELAY)
