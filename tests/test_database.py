"""ORM work from async code: few threads, and connections that go back."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, connection, transaction

from llmstream.database import (
    close_executor,
    release_connections,
    release_request_connections,
    run_db,
    write_transaction,
)
from llmstream.models import Conversation
from tests.support import PATIENCE, changed, conversation, within

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


@pytest.fixture(autouse=True)
def _threads_end_with_the_test() -> Any:
    yield
    close_executor()


def database_threads() -> list[threading.Thread]:
    """Return the executor's threads."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("llmstream-db")]


async def test_however_much_work_there_is_the_threads_are_few() -> None:
    busy, most, lock = 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        Conversation.objects.count()
        with lock:
            busy -= 1
        return number

    with changed(DATABASE_THREADS=2):
        results = await within(asyncio.gather(*[run_db(work, number) for number in range(200)]))
        assert results == list(range(200))
        assert most <= 2
        assert 1 <= len(database_threads()) <= 2


async def test_the_number_of_threads_follows_its_setting() -> None:
    for size in (1, 4):
        with changed(DATABASE_THREADS=size):
            together = threading.Barrier(size)
            await within(asyncio.gather(*[run_db(together.wait, PATIENCE) for _ in range(size)]))
            assert len(database_threads()) == size
    assert database_threads() == []


async def test_work_sees_the_caller_s_context_and_leaves_it_alone() -> None:
    def work() -> str:
        seen = WHO.get()
        WHO.set("worker")
        return seen

    WHO.set("caller")
    assert await run_db(work) == "caller"
    assert WHO.get() == "caller"


async def test_what_work_raises_the_caller_gets() -> None:
    with pytest.raises(Conversation.DoesNotExist):
        await run_db(Conversation.objects.get, pk=0)


async def test_work_goes_on_when_its_caller_is_cancelled() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(PATIENCE)
        conversation(title="done")

    task = asyncio.ensure_future(run_db(work))
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await asyncio.to_thread(close_executor)  # waits for what has begun
    assert await run_db(Conversation.objects.filter(title="done").exists)


def held() -> bool:
    """Whether this thread holds an open connection."""
    return connection.connection is not None


async def test_a_thread_keeps_a_connection_only_where_opening_costs_more() -> None:
    with changed(DATABASE_THREADS=1):
        await run_db(Conversation.objects.count)
        # SQLite's stays; a server's is closed, since CONN_MAX_AGE is 0 here.
        assert await run_db(held) == (connection.vendor == "sqlite")


def test_a_connection_in_a_transaction_is_left_alone() -> None:
    with transaction.atomic():
        owner = conversation()
        release_connections()
        assert Conversation.objects.filter(pk=owner.pk).exists()


async def test_a_request_s_connection_is_closed_before_its_stream() -> None:
    def closed() -> bool:
        return connection.connection is None

    await sync_to_async(Conversation.objects.count)()
    await release_request_connections()
    assert await sync_to_async(closed)()


def test_a_write_transaction_is_undone_by_an_error() -> None:
    with suppress(IntegrityError), write_transaction("default"):
        conversation()
        raise IntegrityError
    assert not Conversation.objects.exists()
    with write_transaction("default"):
        conversation()
    assert Conversation.objects.exists()


def test_write_transactions_may_be_nested_and_write_after_their_commit() -> None:
    def after() -> None:
        with write_transaction("default"):
            conversation(title="after")

    with write_transaction("default"):
        with write_transaction("default"):
            conversation(title="inner")
        transaction.on_commit(after)
    assert set(Conversation.objects.values_list("title", flat=True)) == {"inner", "after"}


def test_writers_of_this_process_take_turns() -> None:
    errors: list[Exception] = []
    go = threading.Barrier(6)

    def work() -> None:
        try:
            if connection.vendor == "sqlite":
                # Who does not line up finds the database locked at once.
                with connection.cursor() as cursor:
                    cursor.execute("PRAGMA busy_timeout = 0")
            go.wait(PATIENCE)
            for _ in range(20):
                with write_transaction("default"):
                    conversation()
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert Conversation.objects.count() == 120
