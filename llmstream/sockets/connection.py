"""One WebSocket connection: it hears, sends and ends; what its frames do is in ``actions``.

Hearing never waits for anything: commands line up for one task, every room streams in a task of its own, and what goes
out takes turns. A slow client holds up its own tasks only, and is given up by the engine's timer.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Collection, Hashable
from contextlib import suppress
from typing import Any, TypeAlias

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.db import DatabaseError
from django.http import HttpRequest

from ..access import Access
from ..conf import get_settings
from ..database import run_db
from ..engine import Engine
from ..events import new_public_id
from ..exceptions import (
    DatabaseUnavailable,
    LimitExceeded,
    LLMStreamError,
    NotAuthenticated,
    Overloaded,
    PermissionDenied,
    RateLimited,
)
from ..permissions import Requester, get_policy
from ..transport import abort_of
from . import actions
from .closing import CloseCode, Closing, SocketClosed
from .frames import Frame, Ref, encode, encode_error, parse
from .limits import Allowances
from .rooms import Room

logger = logging.getLogger("llmstream.sockets")

Receive: TypeAlias = Callable[[], Any]
Send: TypeAlias = Callable[[dict[str, Any]], Any]

#: A client that has sent pings is given up when nothing came from it for this many heartbeats.
_SILENT_HEARTBEATS = 4


class Socket:
    """A client's socket and the rooms it has joined."""

    def __init__(self, engine: Engine, send: Send) -> None:
        self.engine = engine
        self.requester: Requester
        self.access: Access
        self.connection = new_public_id()
        self.rooms: dict[str, Room] = {}
        self._write = send
        self._turn = asyncio.Lock()
        self._main: asyncio.Task[Any] | None = None
        self._closing: Closing | None = None
        self._waiting: deque[Frame] = deque()
        self._working: asyncio.Task[None] | None = None
        #: What is to be sent soon, the newest of each key.
        self._outbox: dict[Hashable, str] = {}
        self._posting: asyncio.Task[None] | None = None
        self._pinged = False
        self._writing = False
        self._moved = self._heard = engine.loop.time()
        self._deadline = self._moved + get_settings().socket_lifetime * random.uniform(0.9, 1.1)  # noqa: S311

    async def run(self, receive: Receive, request: HttpRequest) -> None:
        """Serve the connection from its handshake to its end."""
        self._main = asyncio.current_task()
        await receive()
        with suppress(OSError):  # the client went away while we wrote
            try:
                await self._serve(receive, request)
            except Closing as closing:
                await self._close(closing)
            except asyncio.CancelledError:
                if self._closing is None:
                    await self._close(Closing(CloseCode.SHUTDOWN))
                    raise
                if self._main:
                    self._main.uncancel()
                await self._close(self._closing)
            except Exception:
                logger.exception("A socket broke off")
                await self._close(Closing(CloseCode.FAILED, LLMStreamError()))
            finally:
                self._main = None  # from here on the task is the server's again

    async def _serve(self, receive: Receive, request: HttpRequest) -> None:
        refusal = await self._identify(request)
        await self._write({"type": "websocket.accept"})
        if refusal:
            raise refusal
        user = self._user_key()
        allowances = self.engine.part(Allowances)
        if (allowance := allowances.open(user)) is None:
            raise Closing(CloseCode.TOO_MANY, LimitExceeded())
        try:
            if len(self.engine.streams) >= get_settings().max_streams:
                raise Closing(CloseCode.FAILED, Overloaded())
            self.engine.streams.add(self)
            self.engine.wake()
            while (message := await receive())["type"] == "websocket.receive":
                self._hear(message.get("text"), allowance.take(self.engine.loop.time()))
        finally:
            self.engine.streams.discard(self)
            allowances.close(user)
            self._end_tasks()

    async def _identify(self, request: HttpRequest) -> Closing | None:
        try:
            self.requester, self.access = await run_db(_identify, request)
        except NotAuthenticated as error:
            return Closing(CloseCode.NOT_AUTHENTICATED, error)
        except LLMStreamError as error:
            return Closing(CloseCode.REFUSED, error)
        except DjangoPermissionDenied:
            return Closing(CloseCode.REFUSED, PermissionDenied())
        except DatabaseError:
            logger.warning("The database failed under a handshake", exc_info=True)
            return Closing(CloseCode.FAILED, DatabaseUnavailable())
        except Exception:
            logger.exception("A handshake failed")
            return Closing(CloseCode.FAILED, LLMStreamError())
        return None

    def _user_key(self) -> Hashable:
        requester = self.requester
        return (requester.user.pk, requester.anonymous_id or (None if requester.is_authenticated else id(self)))

    def _hear(self, text: str | None, permitted: bool) -> None:
        if not permitted:
            raise Closing(CloseCode.RATE_LIMITED, RateLimited(retry_after_ms=1_000))
        self._heard = self.engine.loop.time()
        frame = parse(text)
        if frame.type == "ping":
            self._pinged = True
            self.show(object(), encode("pong", frame.ref))
            return
        if len(self._waiting) >= get_settings().max_waiting_commands:
            raise Closing(CloseCode.RATE_LIMITED, RateLimited(retry_after_ms=1_000), frame.ref)
        self._waiting.append(frame)
        if self._working is None or self._working.done():
            self._working = self.engine.spawn(self._work())

    async def _work(self) -> None:
        """Do what the waiting frames ask for, one after the other."""
        with suppress(SocketClosed):
            while self._waiting:
                frame = self._waiting.popleft()
                await self._perform(frame)

    async def _perform(self, frame: Frame) -> None:
        try:
            if answer := await actions.perform(self, frame):
                await self.send(answer)
        except LLMStreamError as error:
            await self._refuse(frame, error)
        except DjangoPermissionDenied:
            await self._refuse(frame, PermissionDenied())
        except DatabaseError:
            logger.warning("The database failed under a command", exc_info=True)
            await self._refuse(frame, DatabaseUnavailable(retry_after_ms=1_000))
        except SocketClosed:
            raise
        except Exception:
            logger.exception("A command failed")
            await self._refuse(frame, LLMStreamError())

    async def _refuse(self, frame: Frame, error: LLMStreamError) -> None:
        room = frame.data.get("room")  # of frames that have none, anything
        about = {"room": room} if isinstance(room, str) else {}
        await self.send(encode_error(error, frame.ref, **about))

    async def send(self, *frames: str) -> None:
        """Send frames, in turn with everybody else; raises SocketClosed."""
        for frame in frames:
            async with self._turn:
                if self._closing:
                    raise SocketClosed
                self._moved, self._writing = self.engine.loop.time(), True
                try:
                    await self._write({"type": "websocket.send", "text": frame})
                except (OSError, RuntimeError) as error:
                    raise SocketClosed from error
                finally:
                    self._writing = False

    def show(self, key: Hashable, frame: str) -> None:
        """Have a frame sent soon, instead of an older one with the same key that the client has not taken yet."""
        self._outbox[key] = frame
        if self._posting is None or self._posting.done():
            self._posting = self.engine.spawn(self._post())

    def drop(self, room: str) -> None:
        """Send nothing more of what was to be shown of a room."""
        for key in [key for key in self._outbox if isinstance(key, tuple) and key[0] == room]:
            del self._outbox[key]

    async def _post(self) -> None:
        with suppress(SocketClosed):
            while self._outbox:
                await self.send(self._outbox.pop(next(iter(self._outbox))))

    def tick(self, now: float) -> None:
        """Close what is slow, silent or old, and show a sign of life on a quiet socket."""
        settings = get_settings()
        if self._writing:
            if now - self._moved > settings.write_timeout:
                self.close(CloseCode.SLOW)
        elif now >= self._deadline:
            self.close(CloseCode.LIFETIME)
        elif self._pinged and now - self._heard > _SILENT_HEARTBEATS * settings.heartbeat:
            self.close(CloseCode.SILENT)
        elif now - self._moved >= settings.heartbeat:
            self.show("pong", encode("pong"))

    def shown(self) -> list[int]:
        """Return the conversations of the rooms."""
        return [room.conversation for room in self.rooms.values()]

    def review(self, requester: Requester | None, readable: Collection[int]) -> None:
        """Close the socket when its client is no longer signed in; end the rooms that may no longer be read."""
        if requester is None:
            self.close(CloseCode.NOT_AUTHENTICATED, NotAuthenticated())
            return
        self.requester = requester
        for room in list(self.rooms.values()):
            if room.conversation not in readable:
                room.expel()

    def close(self, code: CloseCode, error: LLMStreamError | None = None, ref: Ref = None) -> None:
        """Have the socket closed; the first reason counts."""
        if self._closing is None and self._main:
            self._closing = Closing(code, error, ref)
            self._main.cancel()

    async def _close(self, closing: Closing) -> None:
        """Say why and close, if the client takes it in time."""
        self._closing = closing
        try:
            async with asyncio.timeout(get_settings().write_timeout):
                if closing.error:
                    frame = encode_error(closing.error, closing.ref)
                    await self._write({"type": "websocket.send", "text": frame})
                await self._write({"type": "websocket.close", "code": int(closing.code)})
        except TimeoutError:
            if abort := abort_of(self._write):
                abort()
        except (OSError, RuntimeError):
            pass  # it is gone already

    def _end_tasks(self) -> None:
        self._waiting.clear()
        tasks = [self._working, self._posting, *(room.task for room in self.rooms.values())]
        for task in tasks:
            if task:
                task.cancel()
        for room in list(self.rooms.values()):
            room.forget()


def _identify(request: HttpRequest) -> tuple[Requester, Access]:
    requester = get_policy().identify(request)
    return requester, Access.of(request, requester)
