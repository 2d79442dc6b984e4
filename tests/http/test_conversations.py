"""Conversations over HTTP: list, create, read, rename, delete."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import RequestFactory

from llmstream.exceptions import NotFound
from llmstream.generations.endings import stop
from llmstream.http.conversations import _delete
from llmstream.log.transaction import locked
from llmstream.models import Conversation
from tests.http.client import own
from tests.support import ask, user

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]


def at_once(*works: Callable[[], object]) -> list[str]:
    """Do things on threads of their own at the same time, and return what went wrong."""
    errors: list[str] = []
    go = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        go.wait()
        try:
            work()
        except NotFound:
            pass
        except Exception as error:
            errors.append(repr(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return errors


def delete(conversation: Conversation) -> None:
    """Delete a conversation as its owner does."""
    request = RequestFactory().delete("/")
    request.user = user()
    _delete(request, conversation.public_id)


def append(conversation: Conversation) -> None:
    """Append until it is gone."""
    for _ in range(100):
        with locked(conversation.pk) as log:
            log.append({"type": "usage"})


@pytest.mark.parametrize("round_", range(5))
def test_deleting_gets_through_while_others_write(round_: int) -> None:
    owner = own()
    first = ask(owner)
    for _ in range(3):
        ask(owner, busy="queue")
    other = (lambda: append(owner)) if round_ % 2 else (lambda: stop(first.generation.pk))
    assert at_once(lambda: delete(owner), other, lambda: append(owner)) == []
    assert not Conversation.objects.filter(pk=owner.pk).exists()
