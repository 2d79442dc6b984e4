"""``manage.py llmstream_doctor``: what it prints, its exit status, and that it leaves nothing."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.test import override_settings

from llmstream.doctor.visitor import visit
from llmstream.models import Conversation, Event
from tests.support import changed
from tools.services.ports import free_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice() -> User:
    """A user of the site."""
    return get_user_model().objects.create_user("alice")


def doctor(*arguments: str) -> tuple[int, str, str]:
    """Run the command; return its exit status, what it printed, and why it ended badly."""
    out = StringIO()
    try:
        call_command("llmstream_doctor", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, out.getvalue(), str(error)
    return 0, out.getvalue(), ""


def counted() -> tuple[int, int, int]:
    """Return how many rows there are of what a visit makes."""
    return Session.objects.count(), Conversation.objects.count(), Event.objects.count()


def test_the_exit_status_is_the_worst_that_was_found() -> None:
    assert doctor()[0] == 0
    with override_settings(ASGI_APPLICATION=None):
        assert doctor()[::2] == (1, "faults: 0, warnings: 1")
        with changed(LEASE=1.0):
            assert doctor()[::2] == (2, "faults: 1, warnings: 1")


def test_people_read_a_table() -> None:
    with override_settings(ASGI_APPLICATION=None):
        _, said, _ = doctor()
    rows = [line for line in said.splitlines() if not line.startswith(" ")]
    assert rows[0].startswith("warning  settings W005")
    assert all(row.startswith("ok       ") for row in rows[1:])
    assert "Fix: Set it" in said


def test_programs_read_json() -> None:
    with override_settings(ASGI_APPLICATION=None):
        found = json.loads(doctor("--json")[1])
    assert found["level"] == "warning"
    first: dict[str, Any] = found["verdicts"][0]
    assert (first["check"], first["level"]) == ("settings W005", "warning")
    assert set(first) == {"check", "level", "seen", "fix"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--url", "http://127.0.0.1/"], "--user or --cookie"),
        (["--url", "example.com", "--user", "alice"], "http://"),
        (["--url", "http://127.0.0.1/", "--user", "nobody"], "no user 'nobody'"),
        (["--url", "http://127.0.0.1/", "--cookie", "sessionid=1"], "no session"),
    ],
)
def test_nobody_visits_without_an_account(arguments: list[str], why: str) -> None:
    code, _, said = doctor(*arguments)
    assert (code, why in said) == (2, True)
    assert counted() == (0, 0, 0)


def test_a_site_that_is_not_there_is_a_fault_and_nothing_is_left(alice: User) -> None:
    code, said, _ = doctor("--url", f"http://127.0.0.1:{free_port()}/llmstream", "--user", "alice")
    assert code == 2
    assert "fault    site" in said
    assert counted() == (0, 0, 0)


def break_off() -> None:
    """Begin a visit, and be interrupted."""
    with visit("alice", "") as visitor:
        visitor.write()
        assert counted() == (1, 1, 1)
        raise KeyboardInterrupt


def test_a_visit_that_breaks_off_leaves_nothing(alice: User) -> None:
    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert counted() == (0, 0, 0)


def test_a_cookie_signs_its_own_user_in_and_its_session_stays(alice: User) -> None:
    with visit("alice", "") as first:
        with visit("", first.cookie) as second:
            assert second.conversation.owner == alice
            assert second.cookie.startswith(first.cookie)
            assert counted()[0] == 1
        assert counted()[:2] == (1, 1)


def test_who_may_not_sign_in_does_not_visit(alice: User) -> None:
    get_user_model().objects.update(is_active=False)
    code, _, said = doctor("--url", "http://127.0.0.1/", "--user", "alice")
    assert (code, said) == (2, "alice may not sign in.")
