"""A stream that something on the way begins to hold back in its middle: noticed, and left without a word."""

from __future__ import annotations

import pytest

from .browsing import ClientPage
from .site import Request, Site

ID = "c.1.{:012d}".format


def news(seq: int) -> dict[str, object]:
    """What the server says it has sent."""
    return {"events": [{"id": ID(seq), "type": "text-delta"}], "last_event_id": ID(seq), "more": False}


@pytest.fixture
def stream(site: Site, page: ClientPage) -> Request:
    """A stream where no socket gets through, on which an answer has begun."""
    site.handshakes = "hang"
    page.start()
    page.join("c", lastEventId=ID(3))
    site.socket()
    page.run(4)
    stream = site.request().stream(heartbeat_ms=15_000)
    stream.event(ID(4), "text-delta")
    page.ids(1)
    return stream


def asked(site: Site, page: ClientPage) -> Request:
    """The client's question whether there is something, after a silence."""
    page.run(4)
    request = site.request()
    assert request.query == f"after={ID(4)}"
    return request


def test_what_the_server_has_said_and_does_not_arrive_is_polled(site: Site, page: ClientPage, stream: Request) -> None:
    asked(site, page).answer(200, news(5))
    page.run_until(stream.gone.is_set)
    poll = site.request()
    assert (poll.query, page.page.evaluate("client.transport")) == (f"after={ID(4)}", "poll")
    poll.answer(200, news(5))
    assert page.ids(2) == [ID(4), ID(5)]
    # For the page nothing is wrong.
    assert {state["status"] for state in page.page.evaluate("states")} == {"connecting", "open"}


def test_what_arrives_a_little_later_changes_nothing(site: Site, page: ClientPage, stream: Request) -> None:
    question = asked(site, page)
    stream.event(ID(5), "message-end")
    assert page.ids(2) == [ID(4), ID(5)]
    question.answer(200, news(5))
    page.run(4)
    assert page.page.evaluate("client.transport") == "sse"
    assert site.untouched


def test_a_model_that_is_silent_is_left_alone(site: Site, page: ClientPage, stream: Request) -> None:
    nothing = {"events": [], "last_event_id": ID(4), "more": False}
    asked(site, page).answer(200, nothing)
    stream.event(None, "heartbeat")
    stream.event(ID(5), "message-end")
    assert page.ids(2) == [ID(4), ID(5)]
    assert page.page.evaluate("client.transport") == "sse"


def test_a_stream_without_a_sign_of_life_is_begun_anew(site: Site, page: ClientPage) -> None:
    page.start(transport="sse")
    page.join("c", lastEventId=ID(3))
    stream = site.request().stream(heartbeat_ms=15_000)
    page.status("open")
    page.run(19)
    assert site.untouched
    page.run(1)
    site.request().answer(200, {"events": [], "last_event_id": ID(3), "more": False})
    assert site.request().query == f"last_event_id={ID(3)}&ready=1"
    stream.wait_gone()
