"""``manage.py llmstream_recover``"""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from llmstream.generations.endings import stop
from llmstream.models import Generation, LeftResponse
from tests.generations.services import RESPONSE, Service, fresh, lapse, served
from tests.support import ask, check_log, conversation, model, site

pytestmark = pytest.mark.django_db(transaction=True)


def recover(*arguments: str) -> tuple[int, str]:
    """Run the command; return its exit status and what it said."""
    out = StringIO()
    try:
        call_command("llmstream_recover", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, out.getvalue() + str(error)
    return 0, out.getvalue()


def test_there_may_be_nothing_to_do() -> None:
    ask(conversation())
    assert recover("--dry-run")[0] == 0
    code, said = recover()
    assert (code, "queued again: 0" in said) == (0, True)


def test_it_does_what_a_server_does_and_says_so() -> None:
    service = Service()
    models: dict[str, Any] = {"default": served(service), "second": model(Service.read, RECOVERY=["interrupt"])}  # type: ignore[arg-type]
    with site(models=models):
        again, over, left = ask(conversation()), ask(conversation(), model="second"), ask(conversation())
        Generation.objects.filter(pk=left.generation.pk).update(provider_response_id=RESPONSE, provider_cursor="3")
        stop(left.generation.pk)
        lapse(again.generation.pk, over.generation.pk)
        code, said = recover("--dry-run")
        assert (code, "gone: 2" in said, "services: 1" in said) == (3, True, True)
        assert (fresh(again).status, fresh(over).status) == ("running", "running")
        code, said = recover()
        assert (code, "queued again: 1" in said, "interrupted: 1" in said) == (0, True, True)
        assert (fresh(again).status, fresh(over).status) == ("queued", "interrupted")
        assert (service.cancelled, LeftResponse.objects.count()) == ([RESPONSE], 0)
    for sent in (again, over, left):
        check_log(sent.conversation)


def test_what_cannot_be_done_is_an_error() -> None:
    LeftResponse.objects.create(model="no such model", response_id=RESPONSE)
    code, said = recover()
    assert (code, "not cancelled: 1" in said) == (1, True)
