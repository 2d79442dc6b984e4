"""For several processes: hints over the site's channel layer.

Every engine has one channel, and tells all others in one group which conversations it follows. So a flush is one
message to each engine that follows any of it, however many conversations are in it; nothing is sent where nobody else
follows, and nothing comes back to its sender. A group per conversation would cost ten times as much, since a layer's
calls are dear and one's own news comes back. A layer may lose any of this: what an engine follows is told again every
few seconds, and readers find holes and silence in the database.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, ClassVar

from ..log.rows import Batch
from .base import Broker, Ephemeral, Head, Receiver
from .layer import PATIENCE, Outage, channel_layer, group_send, send
from .outbox import Hint, Outbox, unpack
from .peers import Peers

logger = logging.getLogger("llmstream.brokers")

#: All engines of a site are in this group.
GROUP = "llmstream.engines"
#: Every engine tells what it follows this often, and is forgotten after three times of silence.
TELL_EVERY = 10.0
#: Until the others have had this long to tell what they follow, news goes to all of them.
_SETTLING = 1.0
_CLOSING = 0.5


class ChannelsBroker(Broker):
    """Carries hints over the channel layer that ``LLMSTREAM["CHANNEL_LAYER"]`` names."""

    needs_channel_layer: ClassVar[bool] = True

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver)
        self._layer = channel_layer()
        self._channel = ""
        self._opened = asyncio.Event()
        self._outbox = Outbox()
        self._peers = Peers()
        self._followed: set[int] = set()
        self._changed: set[int] = set()
        #: Channels of engines that have asked what is followed here.
        self._asking: set[str] = set()
        self._next_telling = 0.0
        #: Whether the others are to answer the next telling by telling of themselves.
        self._ask = True
        self._settled_at: float | None = None
        self._news = asyncio.Event()
        self._outage = Outage("Broker")
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    def publish(self, batches: list[Batch]) -> None:
        """Tell the engines that follow the conversations."""
        self._begin()
        settled = self._settled
        for batch in batches:
            if not settled or self._peers.of(batch.conversation):
                self._outbox.add(batch)
        if self._outbox:
            self._news.set()

    def broadcast(self, conversation: int, message: Ephemeral) -> None:
        """Tell the engines that follow the conversation."""
        self._begin()
        self._outbox.say(conversation, message)
        self._news.set()

    def follow(self, conversation: int) -> None:
        """Begin to receive a conversation's news."""
        self._begin()
        self._followed.add(conversation)
        self._change(conversation)

    def unfollow(self, conversation: int) -> None:
        """Receive no more of it."""
        self._followed.discard(conversation)
        self._change(conversation)

    async def aclose(self) -> None:
        """Send what is pending if the layer takes it at once, and leave."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._channel and not self._outage:
            with suppress(Exception):
                async with asyncio.timeout(_CLOSING):
                    await self._send_news()
                    await self._layer.group_send(GROUP, self._message("bye"))
                    await self._layer.group_discard(GROUP, self._channel)

    @property
    def _settled(self) -> bool:
        return self._settled_at is not None and self._now() >= self._settled_at

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _change(self, conversation: int) -> None:
        self._changed.add(conversation)
        self._news.set()

    def _begin(self) -> None:
        if not self._tasks and not self._closed:
            for coroutine in (self._receive(), self._send()):
                self._tasks.append(self._spawn(coroutine))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())

    def _message(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": "llmstream.hint", "from": self._channel, "kind": kind, **fields}

    # Sending

    async def _send(self) -> None:
        while not self._closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._next_telling - self._now()):
                    await self._news.wait()
            self._news.clear()
            try:
                await self._send_changes()
                await self._send_news()
            except Exception as error:
                self._ask, self._next_telling = True, 0.0
                await self._outage.pause(error)
            else:
                self._outage.over()

    async def _send_changes(self) -> None:
        """Tell what is followed here: all of it now and then, changes at once, and to those who ask."""
        if not self._channel:
            await self._open()
        if (now := self._now()) >= self._next_telling:
            await self._join()
            self._changed.clear()
            await group_send(self._layer, GROUP, self._told(ask=self._ask))
            self._peers.expire(now - 3 * TELL_EVERY)
            if self._ask:
                self._ask, self._settled_at = False, self._now() + _SETTLING
            self._next_telling = now + TELL_EVERY
        elif self._changed:
            changed, self._changed = self._changed, set()
            followed = [conversation for conversation in changed if conversation in self._followed]
            unfollowed = [conversation for conversation in changed if conversation not in self._followed]
            await group_send(self._layer, GROUP, self._message("change", followed=followed, unfollowed=unfollowed))
        while self._asking:
            await send(self._layer, self._asking.pop(), self._told(ask=False))

    def _told(self, *, ask: bool) -> dict[str, Any]:
        return self._message("follows", followed=list(self._followed), ask=ask)

    async def _send_news(self) -> None:
        hints, ephemerals = self._outbox.take()
        if not (hints or ephemerals):
            return
        try:
            if not self._settled:
                packed = [hint.pack() for hint in hints]
                await group_send(self._layer, GROUP, self._message("news", hints=packed, heard=ephemerals))
                return
            for peer, fields in self._addressed(hints, ephemerals).items():
                await send(self._layer, peer, self._message("news", **fields))
        except BaseException:
            self._outbox.put_back(hints)
            raise

    def _addressed(
        self, hints: Iterable[Hint], ephemerals: Iterable[tuple[int, Ephemeral]]
    ) -> dict[str, dict[str, list[Any]]]:
        """Return what each peer is to be told."""
        news: defaultdict[str, dict[str, list[Any]]] = defaultdict(lambda: {"hints": [], "heard": []})
        for hint in hints:
            if peers := self._peers.of(hint.conversation):
                packed = hint.pack()
                for peer in peers:
                    news[peer]["hints"].append(packed)
        for conversation, message in ephemerals:
            for peer in self._peers.of(conversation):
                news[peer]["heard"].append([conversation, message])
        return news

    # Receiving

    async def _open(self) -> None:
        async with asyncio.timeout(PATIENCE):
            self._channel = await self._layer.new_channel()
        self._opened.set()

    async def _join(self) -> None:
        # Again and again: a layer that was restarted or flushed may have forgotten its groups.
        async with asyncio.timeout(PATIENCE):
            await self._layer.group_add(GROUP, self._channel)

    async def _receive(self) -> None:
        outage = Outage("Receiver")
        await self._opened.wait()
        while not self._closed:
            try:
                message = await self._layer.receive(self._channel)
                outage.over()
            except Exception as error:
                await outage.pause(error)
                continue
            try:
                self._take(message)
            except Exception:
                # From another version of this package, perhaps: a hint that cannot be read is a hint lost.
                logger.exception("A hint could not be read")

    def _take(self, message: dict[str, Any]) -> None:
        sender, kind, now = message["from"], message["kind"], self._now()
        if sender == self._channel:
            return
        if kind == "news":
            self._take_news(message)
        elif kind == "change":
            self._peers.change(sender, message["followed"], message["unfollowed"], now)
        elif kind == "follows":
            self._peers.replace(sender, message["followed"], now)
            if message["ask"]:
                self._asking.add(sender)
                self._news.set()
        elif kind == "bye":
            self._peers.forget(sender)

    def _take_news(self, message: dict[str, Any]) -> None:
        found = [unpack(packed) for packed in message["hints"]]
        if batches := [hint for hint in found if isinstance(hint, Batch)]:
            self.receiver.receive(batches)
        for hint in found:
            if isinstance(hint, Head):
                self.receiver.announce(hint)
        for conversation, said in message["heard"]:
            self.receiver.hear(conversation, said)
