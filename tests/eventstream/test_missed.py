"""What a process commits and dies before it tells: another one tells it, once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from llmstream.contrib.eventstream import missed, receivers
from llmstream.contrib.eventstream.channels import OPERATIONS, user_channel
from llmstream.contrib.eventstream.models import Notification
from llmstream.contrib.eventstream.sender import close_sender, get_sender
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.approvals import decide
from llmstream.models import Conversation, Generation
from llmstream.providers.base import ProviderRequest
from llmstream.signals import swept
from tests.support import ask_in, conversation, ended, site, stored_one, until, user
from tests.tools.site import agent, order

from .conftest import FINISHED, notify, told

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is too new to have been missed."""
    monkeypatch.setattr(missed, "_SOON", timedelta(0))


def kinds(channel: str) -> list[str]:
    """Return the kinds of a channel's notifications."""
    return list(Notification.objects.filter(channel__name=channel).order_by("seq").values_list("type", flat=True))


async def look(times: int = 1) -> None:
    """Let a process look for what was missed that has just begun."""
    for _ in range(times):
        close_sender()
        swept.send(None)
        await run_db(get_sender().flush)


async def lost(generation: Generation) -> Generation:
    """Wait until nobody has been told of an end."""
    found = await ended(generation)
    await until(lambda: generation.pk in FINISHED)
    return found


async def untold(engine: Engine, mine: Conversation, prompt: str = "Hi") -> Generation:
    """Ask while nobody would be told."""
    receivers.disconnect()
    sent = await ask_in(engine, mine, prompt)
    return sent.generation


async def test_ends_that_nobody_was_told_of_are_told_once(notifying: Engine) -> None:
    ann = await run_db(user, "ann")
    mine = await run_db(conversation, owner=ann)
    with site():
        await told((await ask_in(notifying, mine)).generation)
        before = await run_db(kinds, user_channel(ann))
        gone = await lost(await untold(notifying, mine))
        notify()
        await look(times=2)
        assert await run_db(kinds, user_channel(ann)) == [*before, "generation-finished"]
        newest = await Notification.objects.filter(channel__name=OPERATIONS).order_by("-seq").afirst()
        assert newest is not None
        assert gone.public_id in newest.data
        # What is told as usual is not told again.
        await told((await ask_in(notifying, mine)).generation)
        after = await run_db(kinds, user_channel(ann))
        await look(times=2)
    assert await run_db(kinds, user_channel(ann)) == after


async def test_a_failure_is_told_with_its_code(notifying: Engine) -> None:
    async def broken(request: ProviderRequest) -> AsyncGenerator[str, None]:
        yield "Well"
        raise RuntimeError

    mine = await run_db(conversation)
    with site():
        await told((await ask_in(notifying, mine)).generation)
    with site(broken):
        await lost(await untold(notifying, mine))
    notify()
    await look()
    newest = await Notification.objects.filter(channel__name=OPERATIONS).order_by("-seq").afirst()
    assert newest is not None
    assert (newest.type, '"error":"provider_error"' in newest.data) == ("generation-failed", True)


async def test_a_wanted_approval_is_told_once_and_not_when_it_is_decided(notifying: Engine) -> None:
    mine = await run_db(conversation)
    with site(models={"default": agent("wipe")}):
        await told((await ask_in(notifying, await run_db(conversation), order())).generation)
        waiting = await untold(notifying, mine, order([("wipe", {"what": "all"})]))
        asked = await stored_one(mine, "tool-approval-request")
        notify()
        await look(times=2)
        assert (await run_db(kinds, OPERATIONS)).count("approval-wanted") == 1
        receivers.disconnect()
        await run_db(decide, waiting.pk, asked["call"], "deny", None)
        notify()
        await look()
    assert (await run_db(kinds, OPERATIONS)).count("approval-wanted") == 1


async def test_what_was_before_the_first_notification_is_not_told(notifying: Engine) -> None:
    mine = await run_db(conversation)
    with site():
        await lost(await untold(notifying, mine))
        notify()
        await look()
        assert await run_db(Notification.objects.count) == 0
        await told((await ask_in(notifying, mine)).generation)
        await look()
    assert (await run_db(kinds, OPERATIONS)).count("generation-finished") == 1
