"""What every deployment of llmstream does, seen from outside: through its proxies, with its servers and its models.

    pytest --pyargs llmstream.testing.conformance --llmstream-url https://example.com/llmstream/ \\
        --llmstream-cookie "sessionid=..." --llmstream-other-cookie "sessionid=..."

Needs two users and the site's settings, but no database. Costs about four short answers and two that are stopped. What
it has created it deletes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import pytest
from django.conf import settings as django_settings
from django.middleware.csrf import CSRF_SECRET_LENGTH
from django.utils.crypto import get_random_string

from ..doctor.line import SocketLine
from ..doctor.site import FAILURES, Site, socket_url_of
from ..doctor.stream import Arrival
from ..events import MESSAGE_END
from ..openapi.document import openapi_document
from .deployment import Asked, Deployment, Room, after, parts_text, text_of

_ELSEWHERE = "https://elsewhere.example"
#: Every kind of position that cannot be served, but for another conversation's.
_RUBBISH = ("x", "-1", "0", "a" * 300, "%00", "\N{LATIN SMALL LETTER A WITH DIAERESIS}", "A" * 22 + ".1.000000000001")


def _deployment(request: pytest.FixtureRequest, cookie: str) -> Deployment:
    url, given = (str(request.config.getoption(name)) for name in ("--llmstream-url", cookie))
    if not url or not given:
        raise pytest.UsageError(f"Give --llmstream-url and {cookie}.")
    url, token = url.rstrip("/") + "/", get_random_string(CSRF_SECRET_LENGTH)
    socket = request.config.getoption("--llmstream-socket")
    cookies = f"{given}; {django_settings.CSRF_COOKIE_NAME}={token}"
    site = Site(url, socket_url_of(url) if socket is None else socket, cookies, token)
    return Deployment(site, request.config.getoption("--llmstream-model"))


@pytest.fixture(scope="module")
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """The deployment as the user of ``--llmstream-cookie`` has it."""
    return _deployment(request, "--llmstream-cookie")


@pytest.fixture(scope="module")
def stranger(request: pytest.FixtureRequest) -> Deployment:
    """The deployment as the other user has it."""
    return _deployment(request, "--llmstream-other-cookie")


@pytest.fixture(scope="module")
def prompt(request: pytest.FixtureRequest) -> str:
    """What has a short answer."""
    return str(request.config.getoption("--llmstream-prompt"))


@pytest.fixture(scope="module")
def long_prompt(request: pytest.FixtureRequest) -> str:
    """What has a long answer."""
    return str(request.config.getoption("--llmstream-long-prompt"))


@pytest.fixture(scope="module")
def conversation(deployment: Deployment) -> Iterator[str]:
    """A conversation of the user's."""
    found = deployment.conversation()
    yield found
    deployment.delete(found)


@pytest.fixture(scope="module")
def answered(deployment: Deployment, conversation: str, prompt: str) -> tuple[Asked, list[Arrival]]:
    """A prompt, and all events of its answer."""
    asked = deployment.ask(prompt, conversation)
    events = deployment.events(after(f"generations/{asked.generation}/events/", asked.before))
    return asked, events


def test_who_is_not_signed_in_sees_nothing(deployment: Deployment, conversation: str) -> None:
    assert deployment.anonymous().get(f"conversations/{conversation}/").status in (401, 404)


def test_what_changes_something_needs_the_csrf_token(deployment: Deployment, conversation: str) -> None:
    header = django_settings.CSRF_HEADER_NAME.removeprefix("HTTP_")
    reply = deployment.send("PATCH", f"conversations/{conversation}/", {"title": "changed"}, **{header: ""})
    assert (reply.status, reply.code) == (403, "csrf_failed")
    reply = deployment.send("PATCH", f"conversations/{conversation}/", {"title": "changed"}, Origin=_ELSEWHERE)
    assert (reply.status, reply.code) == (403, "csrf_failed")
    assert deployment.get(f"conversations/{conversation}/").data["title"] == "llmstream.testing"


def test_pages_of_other_sites_may_not_read(deployment: Deployment, conversation: str) -> None:
    for url in (f"conversations/{conversation}/", f"conversations/{conversation}/events/"):
        allowed = deployment.get(url, Origin=_ELSEWHERE).headers.get("access-control-allow-origin", "")
        assert allowed not in ("*", _ELSEWHERE)


def test_a_prompt_s_own_response_streams_its_answer(deployment: Deployment, prompt: str) -> None:
    conversation = deployment.conversation()
    body = deployment.prompt(prompt)
    events = deployment.events(f"conversations/{conversation}/messages/", body=body)
    assert events[-1].data["status"] == "completed", events[-1].data
    assert text_of(events)
    assert deployment.delete(conversation).status == 204
    assert deployment.get(f"conversations/{conversation}/").status == 404


def test_events_come_in_order_and_end_once(answered: tuple[Asked, list[Arrival]]) -> None:
    _, events = answered
    ids = [event.event_id for event in events]
    assert all(earlier < later for earlier, later in pairwise(ids))
    assert [event.type for event in events].count(MESSAGE_END) == 1


def test_the_answer_is_stored_as_it_was_streamed(deployment: Deployment, answered: tuple[Asked, list[Arrival]]) -> None:
    asked, events = answered
    message = deployment.message(asked)
    assert parts_text(message) == text_of(events)
    assert message["status"] == events[-1].data["status"] == "completed"


def test_after_a_cut_at_any_event_the_same_answer_is_reached(
    deployment: Deployment, answered: tuple[Asked, list[Arrival]]
) -> None:
    asked, events = answered
    for url in (f"generations/{asked.generation}/events/", f"conversations/{asked.conversation}/events/"):
        for place, event in enumerate(events[:-1], 1):
            by_header = deployment.events(url, Last_Event_ID=event.event_id)
            assert by_header[0].type not in ("snapshot", "reset"), f"nothing is gone on with at {event.event_id}"
            assert text_of(events[:place]) + text_of(by_header) == text_of(events)
            assert by_header[-1].data == events[-1].data
        by_query = deployment.events(after(url, events[0].event_id))
        assert text_of(events[:1]) + text_of(by_query) == text_of(events)


def test_a_reader_that_is_cut_while_it_is_written_misses_nothing(
    deployment: Deployment, conversation: str, prompt: str
) -> None:
    asked = deployment.ask(prompt, conversation)
    url, seen, position = f"generations/{asked.generation}/events/", list[Arrival](), asked.before
    while not seen or seen[-1].type != MESSAGE_END:
        seen += deployment.events(after(url, position), lambda event: bool(event.event_id))
        position = seen[-1].event_id
    ids = [event.event_id for event in seen]
    assert all(earlier < later for earlier, later in pairwise(ids))
    assert text_of(seen) == parts_text(deployment.message(asked))


def test_a_stream_that_was_read_to_its_end_is_not_opened_again(
    deployment: Deployment, answered: tuple[Asked, list[Arrival]]
) -> None:
    asked, events = answered
    url = after(f"generations/{asked.generation}/events/", events[-1].event_id)
    assert deployment.past_the_end(url) == 204
    assert deployment.get(url).status == 204


def test_positions_that_cannot_be_served_lead_to_a_snapshot(
    deployment: Deployment, answered: tuple[Asked, list[Arrival]]
) -> None:
    asked, _ = answered
    url = f"conversations/{asked.conversation}/events/"
    for position in _RUBBISH:
        events = deployment.events(after(url, position), lambda event: event.type == "snapshot")
        assert [event.type for event in events] == ["reset", "snapshot"], position
        assert any(each["id"] == asked.message for each in events[-1].data["messages"])


def test_a_long_poll_reads_the_same(deployment: Deployment, answered: tuple[Asked, list[Arrival]]) -> None:
    asked, events = answered
    url, position, polled = f"generations/{asked.generation}/events/", asked.before, list[Arrival]()
    while (reply := deployment.get(f"{after(url, position)}&wait=5")).status == 200:
        for event in reply.data["events"]:
            polled.append(Arrival(0.0, event["type"], event["id"], event))
        position = reply.data["last_event_id"]
    assert reply.status == 204
    assert text_of(polled) == text_of(events)


def test_a_prompt_that_is_repeated_is_answered_once(deployment: Deployment, prompt: str) -> None:
    conversation = deployment.conversation()
    first = deployment.ask(prompt, conversation, client_id="once")
    assert deployment.ask(prompt, conversation, client_id="once") == first
    url = f"conversations/{conversation}/messages/"
    by_header = deployment.send("POST", url, deployment.prompt(prompt), Idempotency_Key="once")
    assert by_header.data["generation"]["id"] == first.generation
    other = deployment.send("POST", url, deployment.prompt("Something else.", client_id="once"))
    assert (other.status, other.code) == (409, "idempotency_conflict")
    assert deployment.delete(conversation).status == 204


def test_a_stop_keeps_what_was_written_and_ends_the_answer_once(deployment: Deployment, long_prompt: str) -> None:
    conversation = deployment.conversation()
    asked = deployment.ask(long_prompt, conversation)
    url = after(f"generations/{asked.generation}/events/", asked.before)
    deployment.events(url, lambda event: event.type == "text-delta")
    for _ in range(2):
        stopped = deployment.send("POST", f"generations/{asked.generation}/stop/")
        assert (stopped.status, stopped.data["generation"]["status"]) == (200, "stopped")
    events = deployment.events(url)
    assert events[-1].data["status"] == "stopped"
    assert text_of(events) == parts_text(deployment.message(asked)) != ""
    assert deployment.delete(conversation).status == 204


def test_a_conversation_that_is_deleted_takes_its_answer_with_it(deployment: Deployment, long_prompt: str) -> None:
    asked = deployment.ask(long_prompt, deployment.conversation())
    assert deployment.delete(asked.conversation).status == 204
    assert deployment.get(f"generations/{asked.generation}/events/").status == 404


def test_what_is_somebody_else_s_looks_like_what_does_not_exist(
    deployment: Deployment, stranger: Deployment, answered: tuple[Asked, list[Arrival]]
) -> None:
    asked, _ = answered
    before = deployment.get(f"conversations/{asked.conversation}/").data
    own = {"conversation": asked.conversation, "generation": asked.generation, "message": asked.message}
    own["attachment"] = asked.message
    unknown = dict.fromkeys(own, "Z" * 22)
    rest = {"user": "1", "call": "x"}
    # Right for whoever may: what is sent is not what is refused.
    body = {"content": "x", "title": "x", "decision": "approve", "user": "x", "role": "reader", "rating": "up"}
    for template, methods in openapi_document()["paths"].items():
        for method in set(methods) - {"parameters"} if "{" in template else ():
            replies = []
            for ids in (own, unknown):
                url = template.lstrip("/").format(**ids, **rest)
                reply = stranger.get(url) if method == "get" else stranger.send(method.upper(), url, body)
                replies.append((reply.status, reply.data))
            assert replies[0] == replies[1], f"{method} {template}"
            assert replies[0][0] in (404, 415), f"{method} {template}"
    assert deployment.get(f"conversations/{asked.conversation}/").data == before


@pytest.fixture
def socket(deployment: Deployment) -> Iterator[Room]:
    """A socket of the user's."""
    with closing(SocketLine(deployment.site)) as line:
        assert line.status == 101, f"the handshake is answered with {line.status}"
        yield Room(line)


def test_a_socket_shows_the_same_events(socket: Room, answered: tuple[Asked, list[Arrival]]) -> None:
    asked, events = answered
    joined = socket.ask("join", room=asked.conversation, last_event_id=asked.before, generation=asked.generation)
    assert (joined["type"], joined["recovered"]) == ("joined", True)
    socket.until(lambda frame: frame["type"] == "end")
    shown = [frame for frame in socket.frames if frame["type"] == "event"]
    assert text_of([Arrival(0.0, each["event"]["type"], each["id"], each["event"]) for each in shown]) == text_of(
        events
    )
    assert shown[-1]["event"] == events[-1].data
    assert shown[-1]["id"] == events[-1].event_id


def test_a_socket_does_not_show_what_is_somebody_else_s(
    stranger: Deployment, answered: tuple[Asked, list[Arrival]]
) -> None:
    with closing(SocketLine(stranger.site)) as line:
        room = Room(line)
        refusals = [room.ask("join", room=name) for name in (answered[0].conversation, "Z" * 22)]
    assert [refusal["error"]["code"] for refusal in refusals] == ["not_found", "not_found"]


def test_pages_of_other_sites_may_not_open_sockets(deployment: Deployment) -> None:
    for origin in (_ELSEWHERE, "null", ""):
        try:
            with closing(SocketLine(deployment.site, origin)) as line:
                assert line.status in (400, 403), origin
        except FAILURES:
            pass  # cut without an answer


def test_frames_that_are_none_are_told_and_the_socket_closed(socket: Room) -> None:
    socket.line.send_text(b"{")
    assert socket.closed().close_code == 4001


def test_handshakes_of_nobody_are_told_to_sign_in(deployment: Deployment) -> None:
    with closing(SocketLine(deployment.anonymous().site)) as line:
        line.wait(10)
        assert Room(line).closed().close_code in (4401, 1000)
