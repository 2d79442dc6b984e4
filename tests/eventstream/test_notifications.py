"""What people are told, who is told, and what somebody gets who was away."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.checks import run_checks
from django.test import AsyncClient, override_settings
from django.utils import timezone
from django_eventstream.models import Event
from django_eventstream.storage import EventDoesNotExist

from llmstream.contrib.eventstream import outbox
from llmstream.contrib.eventstream.channelmanager import ChannelManager
from llmstream.contrib.eventstream.channels import OPERATIONS, conversation_channel, user_channel
from llmstream.contrib.eventstream.models import Channel, Notification
from llmstream.contrib.eventstream.sender import get_sender
from llmstream.contrib.eventstream.storage import Storage
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.approvals import decide
from llmstream.models import Conversation, Membership
from llmstream.providers.base import ProviderRequest
from tests.live.servers import ROOT
from tests.support import PATIENCE, ask_in, asked, changed, conversation, ended, site, stored_one, user, within
from tests.tools.site import agent, order

from .conftest import listening, told

pytestmark = pytest.mark.django_db(transaction=True)

TAG = "llmstream_eventstream"
#: All that a notification may hold; what was said is not among it.
FIELDS = {"conversation", "message", "generation", "model", "role", "status", "error", "call", "tool", "decision", "at"}
ANSWERED = ["message-created", "message-created", "generation-started", "generation-finished"]


async def anns(**fields: Any) -> tuple[User, Conversation]:
    """Return ann and a conversation of hers."""
    ann = await run_db(user, "ann")
    return ann, await run_db(conversation, owner=ann, **fields)


def kept(channel: str) -> list[tuple[int, str]]:
    """Return positions and kinds of a channel's notifications."""
    return list(Notification.objects.filter(channel__name=channel).order_by("seq").values_list("seq", "type"))


async def test_an_answer_is_told_from_its_beginning_to_its_end_and_never_what_it_says(notifying: Engine) -> None:
    ann, mine = await anns(title="Secret title")
    with site(models={"default": agent("wipe")}):
        async with listening(ann) as listener:
            sent = await ask_in(notifying, mine, order([("wipe", {"what": "Secret input"})], text="Secret answer."))
            await listener.until("approval-wanted")
            await stored_one(mine, "tool-approval-request")
            await run_db(decide, sent.generation.pk, "call_0_0", "approve", ann)
            heard = await listener.until("generation-finished")
    assert [item["kind"] for item in heard] == [
        *("message-created", "message-created", "generation-started"),
        *("approval-wanted", "approval-decided", "generation-finished"),
    ]
    assert [item.get("role") for item in heard[:2]] == ["user", "assistant"]
    assert {item["conversation"] for item in heard} == {mine.public_id}
    assert {item["generation"] for item in heard[1:]} == {sent.generation.public_id}
    assert (heard[3]["tool"], heard[3]["status"]) == ("wipe", "waiting")
    assert (heard[4]["decision"], heard[5]["status"]) == ("approved", "completed")
    assert {key for item in heard for key in item} - {"kind", "id"} <= FIELDS
    for secret in (b"Secret", b"Step 1", b"wiped"):
        assert secret not in listener.body


async def test_a_failure_is_told_with_its_code(notifying: Engine) -> None:
    async def broken(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        yield "Half"
        raise RuntimeError("secret")

    ann, mine = await anns()
    with site(broken):
        async with listening(ann) as listener:
            sent = await ask_in(notifying, mine)
            heard = await listener.until("generation-failed")
            generation = await ended(sent.generation)
    assert (heard[-1]["status"], heard[-1]["error"]) == ("failed", generation.error_code)


async def test_who_comes_back_with_the_last_id_gets_what_was_missed(notifying: Engine) -> None:
    ann, mine = await anns()
    with site():
        async with listening(ann) as listener:
            await ask_in(notifying, mine)
            heard = await listener.until("generation-finished")
        for middle in (heard[1]["id"], heard[-1]["id"]):
            others = await run_db(conversation, owner=ann)
            await told((await ask_in(notifying, others)).generation)
            async with listening(ann, last=middle) as listener:
                positions = await run_db(kept, user_channel(ann))
                after = int(middle.rpartition(":")[2])
                while len(listener.heard) < len(positions) - after:
                    listener.body += await anext(listener.chunks)
                assert [(int(item["id"].rpartition(":")[2]), item["kind"]) for item in listener.heard] == [
                    position for position in positions if position[0] > after
                ]
    assert [seq for seq, _ in positions] == list(range(1, 13))


@pytest.mark.parametrize("storage", [None, "django_eventstream.storage.DjangoModelStorage"])
async def test_nothing_is_left_out_or_doubled_while_a_stream_opens(notifying: Engine, storage: str | None) -> None:
    ann, mine = await anns()
    with site(), override_settings(**({"EVENTSTREAM_STORAGE_CLASS": storage} if storage else {})):
        async with listening(ann) as fresh:  # has sent its opening, and does not listen yet
            await told((await ask_in(notifying, mine)).generation)
            heard = await fresh.until("generation-finished")
        assert fresh.kinds == ANSWERED
        async with listening(ann, last=heard[1]["id"]) as back:
            assert back.kinds == ANSWERED[2:]
            await told((await ask_in(notifying, await run_db(conversation, owner=ann))).generation)
            while len(back.heard) < 6:
                back.body += await within(anext(back.chunks))
        assert [int(item["id"].rpartition(":")[2]) for item in back.heard] == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("last", ["error", "a:b", ":", "llmstream-user-1", "a:1:2", f"a:{'9' * 5_000}"])
async def test_what_is_no_position_is_refused(transactional_db: None, last: str) -> None:
    client = AsyncClient()
    await client.aforce_login(await run_db(user, "ann"))
    for answer in (
        await client.get("/notifications/", headers={"Last-Event-ID": last}),
        await client.get("/notifications/", {"lastEventId": last}),
        await client.get("/notifications/", {"channel": [f"channel-{number}" for number in range(11)]}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


async def test_what_is_kept_no_longer_leads_to_a_reset(notifying: Engine) -> None:
    ann, mine = await anns()
    with site():
        await told((await ask_in(notifying, mine)).generation)
        old = timezone.now() - outbox.KEPT - timedelta(seconds=1)
        await run_db(Notification.objects.filter(seq__lte=2).update, created_at=old)
        assert await run_db(outbox.prune) == 6
        channel = user_channel(ann)
        async with listening(ann, last=f"{channel}:1") as listener:
            assert [(item["kind"], item["id"]) for item in listener.heard] == [("stream-reset", f"{channel}:4")]
        with pytest.raises(EventDoesNotExist):
            await run_db(Storage().get_events, channel, 9)
        assert [event.id for event in await run_db(Storage().get_events, channel, 2)] == [3, 4]


async def test_nobody_is_told_of_another_s_conversation(notifying: Engine) -> None:
    ann, mine = await anns()
    bob, carol = await run_db(user, "bob"), await run_db(user, "carol")
    membership = await run_db(Membership.objects.create, conversation=mine, user=carol, role="reader")
    with site():
        await told((await ask_in(notifying, mine)).generation)
        names = await run_db(lambda: set(Channel.objects.values_list("name", flat=True)))
        of_mine = conversation_channel(mine.public_id)
        assert names == {user_channel(ann), user_channel(carol), of_mine, OPERATIONS}
        await run_db(membership.delete)
        await told((await ask_in(notifying, mine)).generation)
    assert [len(await run_db(kept, user_channel(who))) for who in (ann, carol, bob)] == [8, 4, 0]


async def test_channels_are_read_by_those_alone_who_may(transactional_db: None) -> None:
    ann, mine = await anns()
    bob, chief = await run_db(user, "bob"), await run_db(user, "chief")
    chief.is_staff = True
    await run_db(chief.save)
    await run_db(lambda: chief.user_permissions.add(Permission.objects.get(codename="view_generation")))
    of_mine, manager = conversation_channel(mine.public_id), ChannelManager()
    readers: dict[str, list[User]] = {user_channel(ann): [ann], of_mine: [ann], OPERATIONS: [chief]}
    for channel in (*readers, "llmstream-user-", "llmstream-conversation-", "llmstream-other", "other"):
        for who in (ann, bob, chief, None):
            allowed = await run_db(manager.can_read_channel, who, channel)
            assert allowed == (who in readers.get(channel, [])), (who, channel)
    said = set()
    for path in (f"conversations/{mine.public_id}/", "conversations/aaaaaaaaaaaaaaaaaaaaaa/", "operations/"):
        async with listening(bob, path) as listener:
            assert listener.kinds == ["stream-error"]
            said.add((listener.heard[0]["condition"], await within_end(listener)))
    assert said == {("forbidden", 1)}
    assert (await AsyncClient().get("/notifications/")).status_code == 401


async def within_end(listener: Any) -> int:
    """Return how much came until the stream ended."""
    return len(await listener.rest())


async def test_a_stream_ends_when_its_client_may_no_longer_read(notifying: Engine) -> None:
    _, mine = await anns()
    bob = await run_db(user, "bob")
    membership = await run_db(Membership.objects.create, conversation=mine, user=bob, role="reader")
    with site(ACCESS_INTERVAL=0.0):
        async with listening(bob, f"conversations/{mine.public_id}/") as listener:
            await run_db(membership.delete)
            await ask_in(notifying, mine)
            assert await listener.rest() == []


async def test_the_staff_follows_the_whole_site(notifying: Engine) -> None:
    chief = await run_db(user, "chief")
    chief.is_staff = chief.is_superuser = True
    await run_db(chief.save)
    with site():
        async with listening(chief, "operations/") as listener:
            await asked(notifying)
            await listener.until("generation-finished")
    assert listener.kinds == ANSWERED


@pytest.mark.parametrize("storage", ["", "django_eventstream.storage.DjangoModelStorage"])
async def test_other_storages_work_too(notifying: Engine, storage: str) -> None:
    ann, mine = await anns()
    with site(), override_settings(EVENTSTREAM_STORAGE_CLASS=storage):
        if not storage:
            del settings.EVENTSTREAM_STORAGE_CLASS
        async with listening(ann) as listener:
            # Without a storage, what is sent before the stream waits for it is nowhere.
            hearing = asyncio.create_task(listener.until("generation-finished"))
            await asyncio.sleep(0)
            await ask_in(notifying, mine)
            heard = await hearing
        assert listener.kinds == ANSWERED
        assert await run_db(Notification.objects.count) == 0
        if storage:
            assert await run_db(Event.objects.filter(channel=user_channel(ann), eid__gt=0).count) == 4
            async with listening(ann, last=heard[2]["id"]) as listener:
                await listener.until("generation-finished")
            assert listener.kinds == ANSWERED[-1:]


@pytest.mark.django_db(transaction=True)
def test_what_could_not_be_published_goes_first_the_next_time() -> None:
    sent: list[tuple[int, str]] = []

    def send(name: str, kind: str, data: outbox.StoredText) -> None:
        if kind == "refused" and sent[-1][1] != "again":
            sent.append((0, "again"))
            raise ConnectionError
        sent.append((data.seq, kind))

    for kind in ("first", "refused", "last"):
        assert outbox.store(["llmstream-other", "llmstream-user-1"], kind, "{}")
    with pytest.raises(ConnectionError):
        outbox.publish("llmstream-other", send)
    assert Channel.objects.get(name="llmstream-other").sent == 1
    outbox.publish("llmstream-other", send)
    outbox.publish("llmstream-other", send)
    assert sent == [(1, "first"), (0, "again"), (2, "refused"), (3, "last")]


@pytest.mark.django_db(transaction=True)
def test_what_a_site_sends_into_our_channels_takes_its_turn() -> None:
    storage = Storage()
    assert storage.append_event("llmstream-user-1", "custom", {"a": 1}).id == 1
    assert storage.append_event("llmstream-user-1", "custom", {"a": 2}).id == 2
    assert [event.data for event in storage.get_events("llmstream-user-1", 0)] == ['{"a": 1}', '{"a": 2}']
    assert storage.append_event("theirs", "custom", {"a": 1}).id == 1
    assert Notification.objects.count() == 2


async def test_no_answer_waits_for_its_notifications(notifying: Engine) -> None:
    go_on = threading.Event()
    get_sender().submit(partial(_wait, go_on))
    try:
        with site():
            sent = await asked(notifying)
            assert (await ended(sent.generation)).status == "completed"
        assert await run_db(Notification.objects.count) == 0
    finally:
        go_on.set()
    await told(sent.generation)
    assert await run_db(kept, OPERATIONS) == list(enumerate(ANSWERED, 1))


def _wait(event: threading.Event) -> None:
    event.wait(3 * PATIENCE)


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({}, []),
        ({"EVENTSTREAM_CHANNELMANAGER_CLASS": "django_eventstream.channelmanager.DefaultChannelManager"}, ["E003"]),
        ({"EVENTSTREAM_CHANNELMANAGER_CLASS": "no.such.Manager"}, ["E003"]),
        ({"EVENTSTREAM_STORAGE_CLASS": None}, ["W001"]),
    ],
)
def test_checks(changes: dict[str, Any], ids: list[str]) -> None:
    with override_settings(**changes):
        assert found() == ids


def test_other_processes_need_redis() -> None:
    channels = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}
    with changed(BROKER="llmstream.brokers.channels.ChannelsBroker"), override_settings(CHANNEL_LAYERS=channels):
        assert found() == ["W002"]
        with override_settings(EVENTSTREAM_REDIS={"host": "127.0.0.1"}):
            assert found() == []


def found() -> list[str]:
    """Return the ids of what our checks find, without the prefix."""
    return [str(item.id).removeprefix(f"{TAG}.") for item in run_checks(tags=[TAG])]


WITHOUT = """
import sys
sys.modules["django_eventstream"] = None
import django
django.setup()
from django.core.checks import run_checks
from django.core.management import call_command
from llmstream import signals
from llmstream.models import Generation
found = run_checks(tags=["llmstream_eventstream"])
print([item.id for item in found], signals.generation_finished.has_listeners(Generation))
call_command("migrate", verbosity=0)
"""


def test_without_the_package_a_check_says_so_and_nothing_else_happens() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LLMSTREAM")}
    environment["DJANGO_SETTINGS_MODULE"] = "tests.eventstream.absent"
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['llmstream_eventstream.E001'] False"
