"""What a socket may not do, and what it is told when it does: every close code that is not about malformed frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from django.db import OperationalError

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.sockets import connection, rooms
from tests.http.client import own
from tests.support import Upstream, check_log, site, text_of, until
from tests.websocket.visitors import Visitor, narrow, visit

pytestmark = pytest.mark.django_db(transaction=True)

TICK: dict[str, Any] = {"POLL_INTERVAL": 0.02}


async def test_more_frames_than_permitted_are_refused(running: Engine) -> None:
    with site(FRAMES_PER_SECOND=0.001, FRAME_BURST=5):
        async with visit() as ann:
            for number in range(5):
                assert (await ann.ask("ping"))["ref"] == f"r{number + 1}"
            await ann.send("ping")
            assert await ann.closed() == 4129
            assert ann.frames[-1]["error"]["code"] == "rate_limited"
            assert ann.frames[-1]["error"]["temporary"] is True


async def test_the_frames_of_all_sockets_of_a_user_count_together(running: Engine) -> None:
    with site(FRAMES_PER_SECOND=0.001, FRAME_BURST=4):
        async with visit() as first, visit() as second, visit("bob") as bob:
            for visitor in (first, second, first, second):
                await visitor.ask("ping")
            await second.send("ping")
            assert await second.closed() == 4129
            assert (await bob.ask("ping"))["type"] == "pong"


async def test_coming_back_does_not_fill_the_bucket(running: Engine) -> None:
    with site(FRAMES_PER_SECOND=0.001, FRAME_BURST=3):
        async with visit() as ann:
            for _ in range(3):
                await ann.ask("ping")
        async with visit() as again:
            await again.send("ping")
            assert await again.closed() == 4129


async def test_the_bucket_fills_again(running: Engine) -> None:
    with site(FRAMES_PER_SECOND=200.0, FRAME_BURST=2):
        async with visit() as ann:
            for _ in range(10):
                await ann.ask("ping")
                await asyncio.sleep(0.01)


async def test_a_user_has_so_many_sockets_and_no_more(running: Engine) -> None:
    with site(MAX_SOCKETS_PER_USER=3):
        async with AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(visit()) for _ in range(3)]
            for visitor in sockets:
                await visitor.ask("ping")
            async with visit() as fourth:
                assert await fourth.closed() == 4429
                assert fourth.frames[0]["error"]["code"] == "limit_exceeded"
            async with visit("bob") as bob:
                await bob.ask("ping")
            await sockets.pop().leave()
            async with visit() as again:
                assert (await again.ask("ping"))["type"] == "pong"


async def test_a_full_process_takes_no_more_sockets(running: Engine) -> None:
    with site(MAX_STREAMS=1):
        async with visit() as ann:
            await ann.ask("ping")
            async with visit("bob") as bob:
                assert await bob.closed() == 4101
                assert bob.frames[0]["error"]["code"] == "overloaded"


async def test_a_socket_has_so_many_rooms_and_no_more(running: Engine) -> None:
    first, second, third = [(await run_db(own)).public_id for _ in range(3)]
    with site(MAX_ROOMS=2):
        async with visit() as ann:
            for room in (first, second, first):
                assert (await ann.ask("join", room=room))["type"] == "joined"
            assert (await ann.ask("join", room=third))["error"]["code"] == "limit_exceeded"
            await ann.ask("leave", room=first)
            assert (await ann.ask("join", room=third))["type"] == "joined"


async def test_so_many_commands_may_wait_and_no_more(running: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, free = asyncio.Event(), asyncio.Event()

    async def stuck(*_: Any) -> None:
        begun.set()
        await free.wait()

    monkeypatch.setattr("llmstream.sockets.actions.perform", stuck)
    with site(MAX_WAITING_COMMANDS=3):
        async with visit() as ann:
            await ann.send("leave", room="r")
            await begun.wait()
            for _ in range(3):
                await ann.send("leave", room="r")
            assert (await ann.ask("ping"))["type"] == "pong", "hearing waits for no command"
            await ann.send("leave", room="r", ref="last")
            assert await ann.closed() == 4129
            assert (ann.frames[-1]["error"]["code"], ann.frames[-1]["ref"]) == ("rate_limited", "last")


async def test_a_socket_that_has_lived_its_time_is_closed(running: Engine) -> None:
    with site(SOCKET_LIFETIME=0.2, **TICK):
        async with visit() as ann:
            assert await ann.closed() == 4200


async def test_a_quiet_socket_shows_that_it_lives(running: Engine) -> None:
    with site(HEARTBEAT=0.05, **TICK):
        async with visit() as ann:
            assert [await ann.next() for _ in range(3)] == [{"type": "pong"}] * 3


async def test_a_client_that_has_pinged_and_stopped_is_closed(running: Engine) -> None:
    with site(HEARTBEAT=0.05, **TICK):
        async with visit() as ann:
            await ann.ask("ping")
            assert await ann.closed() == 4112


async def test_a_client_that_never_pings_is_left_alone(running: Engine) -> None:
    with site(HEARTBEAT=0.02, **TICK):
        async with visit() as ann:
            for _ in range(12):
                assert await ann.next() == {"type": "pong"}


@pytest.mark.parametrize("policy", ["ClosedPolicy", "DjangoClosedPolicy"])
async def test_a_policy_may_refuse_sockets(running: Engine, policy: str) -> None:
    with site(POLICY=f"tests.websocket.policies.{policy}"):
        async with visit() as ann:
            assert await ann.closed() == 4403
            assert ann.frames[0]["error"]["code"] == "permission_denied"


async def test_one_identify_serves_every_transport(running: Engine) -> None:
    room = (await run_db(own)).public_id
    with site(POLICY="tests.websocket.policies.BearerPolicy"):
        async with visit(None, authorization="Bearer ann") as ann:
            assert (await ann.ask("join", room=room))["role"] == "owner"
        async with visit(None, path="/ws/llmstream/?token=ann") as ann:
            assert (await ann.ask("join", room=room))["role"] == "owner"
        async with visit(None, authorization="Bearer nobody") as nobody:
            assert await nobody.closed() == 4401


class Broken(Exception):
    """A bug, for a test."""


@pytest.mark.parametrize(
    ("error", "code"), [(OperationalError("gone"), "database_unavailable"), (Broken("secret"), "error")]
)
async def test_a_command_that_fails_is_answered(
    running: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    room = (await run_db(own)).public_id

    def fail(*_: Any, **__: Any) -> None:
        raise error

    async with visit() as ann:
        with monkeypatch.context() as patch:
            patch.setattr("llmstream.commands.stop", fail)
            answer = await ann.ask("stop", generation="g" * 22)
            assert answer["error"]["code"] == code
            assert "secret" not in str(answer)
        assert (await ann.ask("join", room=room))["type"] == "joined"


@pytest.mark.parametrize(
    ("error", "code"), [(OperationalError("gone"), "database_unavailable"), (Broken("secret"), "error")]
)
async def test_a_handshake_that_fails_closes(
    running: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(connection, "_identify", fail)
    async with visit() as ann:
        assert await ann.closed() == 4101
        assert ann.frames[0]["error"]["code"] == code
        assert "secret" not in str(ann.frames)


@pytest.mark.parametrize(
    ("error", "code"), [(OperationalError("gone"), "database_unavailable"), (Broken("secret"), "error")]
)
async def test_a_room_that_fails_closes_the_socket_which_comes_back(
    running: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    room = (await run_db(own)).public_id

    class Failing:
        def __init__(self, *_: Any) -> None:
            pass

        async def chunks(self) -> AsyncIterator[tuple[str, ...]]:
            raise error
            yield ()

    async with visit() as ann:
        with monkeypatch.context() as patch:
            patch.setattr(rooms, "Reader", Failing)
            await ann.ask("join", room=room)
            assert await ann.closed() == 4101
            assert ann.frames[-1]["error"]["code"] == code
    async with visit() as again:
        assert (await again.ask("join", room=room))["type"] == "joined"


@asynccontextmanager
async def slow(taking: asyncio.Event) -> AsyncIterator[Visitor]:
    """A client that takes nothing while ``taking`` is cleared."""
    async with visit("bob", app=narrow(taking)) as visitor:
        try:
            yield visitor
        finally:
            taking.set()


async def test_a_client_that_takes_nothing_is_closed_and_no_other(running: Engine) -> None:
    found = await run_db(own, "bob")
    upstream = Upstream()
    taking = asyncio.Event()
    taking.set()
    with site(upstream, WRITE_TIMEOUT=0.2, **TICK):
        async with visit("bob") as quick, slow(taking) as stuck:
            for visitor in (quick, stuck):
                await visitor.ask("join", room=found.public_id)
            await quick.ask("send", room=found.public_id, content="Hi")
            await stuck.until(lambda frame: frame.get("event", {}).get("type") == "generation-start")
            taking.clear()
            words = [f"{number} " for number in range(30)]
            for word in words:
                upstream.say(word)
                await quick.event("text-delta")
            await until(lambda: len(running.streams) == 1)
            upstream.finish()
            await quick.event("message-end")
            assert text_of(quick.events) == "".join(words)
            assert text_of(stuck.events) == ""


async def test_a_slow_client_that_takes_again_has_missed_nothing(running: Engine) -> None:
    found = await run_db(own, "bob")
    upstream = Upstream()
    taking = asyncio.Event()
    taking.set()
    with site(upstream, TAIL_BYTES=200, WRITE_TIMEOUT=600.0, **TICK):
        async with visit("bob") as quick, slow(taking) as visitor:
            for each in (quick, visitor):
                await each.ask("join", room=found.public_id)
            ack = await quick.ask("send", room=found.public_id, content="Hi")
            taking.clear()
            for number in range(50):
                upstream.say(f"{number} ")
                await quick.event("text-delta")
            taking.set()
            upstream.finish()
            await visitor.end_of(ack["generation"]["id"])
            assert text_of(visitor.events) == "".join(f"{number} " for number in range(50))
    await run_db(check_log, found)


async def test_a_socket_that_is_gone_leaves_nothing_behind(running: Engine) -> None:
    room = (await run_db(own)).public_id
    with site():
        for _ in range(5):
            async with visit() as ann:
                await ann.ask("join", room=room)
                await ann.send("join", room=room)
                await ann.send("send", room=room, content="Hi")
        await until(lambda: not running.streams and not running.hub.topics)


async def test_a_server_that_ends_its_applications_says_so(running: Engine) -> None:
    room = (await run_db(own)).public_id
    async with visit() as ann:
        await ann.ask("join", room=room)
        assert await ann.cut() == 4100
