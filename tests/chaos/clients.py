"""Clients that go through everything: they come back after every cut, to a random process, and note what they see.

All of them know only the wire: a reader turns one connection into the events that came over it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Final

import httpx

from tests.live.api import Api
from tests.live.clients import CUTS, Call, Reader, Refused, http_client, read_aiohttp
from tests.live.history import Received, position
from tests.live.sockets import read_socket

from .record import Recorder

#: Seconds of silence after which a client gives a connection up: the site sends heartbeats every second.
SILENCE: Final = 5.0
_LONG_POLL: Final = 2.0


async def read_poll(call: Call) -> AsyncIterator[Received]:
    """Ask once by long poll."""
    headers = {**call.all_headers(), "Accept": "application/json"}
    after = headers.pop("Last-Event-ID", "")
    params = {"wait": str(_LONG_POLL), **({"after": after} if after else {})}
    async with http_client(timeout=call.timeout) as client:
        response = await client.get(call.url, headers=headers, params=params)
    if response.status_code != 200:
        raise Refused(response.status_code, response.content)
    for event in response.json()["events"]:
        event_id = event.pop("id", "")
        yield Received(event_id, event["type"], event)


#: What clients of a conversation read it by.
READERS: Mapping[str, Reader] = {"sse": read_aiohttp, "socket": read_socket, "poll": read_poll}


class Client:
    """Somebody at the site: an account, the addresses of its processes, random numbers and a history."""

    def __init__(self, apis: Sequence[Api], luck: random.Random, recorder: Recorder) -> None:
        self.apis = apis
        self.luck = luck
        self.recorder = recorder
        self.last_id = ""

    def anywhere(self) -> Api:
        """Any process, dead or alive."""
        return self.luck.choice(self.apis)

    async def read(self, reader: Reader, call: Call, enough: Callable[[Received], bool]) -> int:
        """Make one connection and write down what comes, until it breaks or ``enough`` has come; return the status."""
        self.recorder.write("connect", to=call.url.partition("/llmstream/")[0], **{"with": self.last_id})
        try:
            async with aclosing(reader(replace(call, timeout=SILENCE).resumed(self.last_id))) as events:  # type: ignore[type-var]
                async for event in events:
                    self.recorder.write("event", id=event.id, event=event.data)
                    self.last_id = event.id or self.last_id
                    if enough(event):
                        self.recorder.write("left")
                        return 200
            self.recorder.write("end")
        except Refused as refused:
            self.recorder.write("refused", status=refused.status, body=refused.body[:300].decode(errors="replace"))
            return refused.status
        except (*CUTS, TimeoutError) as error:
            self.recorder.write("cut", why=repr(error)[:200])
        return 0

    async def breathe(self, longest: float = 0.3) -> None:
        """Wait a moment before coming back."""
        await asyncio.sleep(self.luck.uniform(0.02, longest))


class Watcher(Client):
    """Follows a conversation until it has everything that will ever be in it."""

    def __init__(
        self, kind: str, conversation: str, head: asyncio.Future[str], apis: Sequence[Api], luck: random.Random,
        recorder: Recorder,
    ) -> None:  # fmt: skip
        super().__init__(apis, luck, recorder)
        self._reader = READERS[kind]
        self._path = f"conversations/{conversation}/events/"
        self._head = head

    def _there(self) -> bool:
        return self._head.done() and bool(self.last_id) and position(self.last_id) >= position(self._head.result())

    async def run(self) -> None:
        """Come back and back, leaving by itself now and then."""
        while not self._there():
            left = self.luck.randint(2, 80)

            def enough(event: Received, budget: list[int] = [left]) -> bool:  # noqa: B006
                budget[0] -= 1
                return budget[0] == 0 or self._there()

            read = asyncio.ensure_future(self.read(self._reader, self.anywhere().call(self._path), enough))
            # Nothing more comes to a client that has everything already.
            either: list[asyncio.Future[Any]] = [read, self._head]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not read.done():
                await self._last_look(read)
            await self.breathe()
        self.recorder.write("arrived", id=self.last_id)

    async def _last_look(self, read: asyncio.Future[int]) -> None:
        """Let a connection go on to the head, unless it is there."""
        while not read.done() and not self._there():
            await asyncio.wait([read], timeout=0.1)
        read.cancel()
        with suppress(asyncio.CancelledError):
            await read


class Talker(Client):
    """Asks one question after the other, reads each answer in the response of its POST, and stops some of them."""

    def __init__(
        self, name: str, conversation: str, models: Sequence[str], apis: Sequence[Api], luck: random.Random,
        recorder: Recorder,
    ) -> None:  # fmt: skip
        super().__init__(apis, luck, recorder)
        self._name = name
        self._conversation = conversation
        self._models = models
        self._generation = ""
        self._over = False

    async def ask(self, number: int, prompt: str, *, stop: bool) -> None:
        """Ask and read on to the end of the answer; ``stop`` it somewhere on the way."""
        self.last_id, self._generation, self._over = "", "", False
        client_id, model = f"{self._name}-{number}", self.luck.choice(self._models)
        self.recorder.write("asked", client_id=client_id, model=model)
        body = {"client_id": client_id, "model": model, "busy": "queue"}
        async with asyncio.TaskGroup() as group:
            if stop:
                group.create_task(self._stop(self.luck.uniform(0.0, 1.5)))
            while not self._over:
                await self._hear(client_id, prompt, body)
                if not self._over:
                    await self.breathe()
        self.recorder.write("arrived", id=self.last_id)

    async def _hear(self, client_id: str, prompt: str, body: Mapping[str, str]) -> None:
        """Make one connection that brings the answer."""
        api = self.anywhere()
        if self._generation:
            status = await self.read(read_aiohttp, api.call(f"generations/{self._generation}/events/"), self._is_end)
            self._over = self._over or status == 204
            return
        # Whatever became of the last try: the client_id makes this the same prompt.
        await self.read(read_aiohttp, api.post_call(self._conversation, prompt, **body), self._is_end)
        if self._generation:
            self.recorder.write("accepted", client_id=client_id, generation=self._generation)

    def _is_end(self, event: Received) -> bool:
        self._generation = self._generation or event.data.get("generation", "")
        self._over = self._over or event.type == "message-end"
        return event.type == "message-end"

    async def _stop(self, after: float) -> None:
        """Stop the answer, at whatever process can be reached."""
        await asyncio.sleep(after)
        while not self._generation:
            if self._over:
                return
            await asyncio.sleep(0.02)
        while True:
            try:
                response = await self.anywhere().request(
                    "POST", f"generations/{self._generation}/stop/", timeout=SILENCE
                )
            except (*CUTS, httpx.TimeoutException):
                await self.breathe()
                continue
            if response.status_code == 200:
                found: dict[str, Any] = response.json()["generation"]
                self.recorder.write("stopped", generation=found["id"], status=found["status"])
                return
            self.recorder.write("refused", status=response.status_code, body=response.text[:300])
            await self.breathe()
