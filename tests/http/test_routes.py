"""Every route and every method: who is let in, who is told nothing, and what is not served at all."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.test import AsyncClient
from django.urls import URLPattern, reverse

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import Attachment, Conversation, Event, Membership, Message
from llmstream.urls import urlpatterns
from tests.http.client import TOKEN, browser, own
from tests.support import ask

pytestmark = pytest.mark.django_db(transaction=True)

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
    b"x\r\n--b--\r\n"
)
#: What each route serves, and a body that it takes.
SERVED: dict[str, dict[str, bytes]] = {
    "conversations": {"GET": b"", "POST": b'{"title": "x"}'},
    "conversation": {"GET": b"", "PATCH": b'{"title": "x"}', "DELETE": b""},
    "messages": {"POST": b'{"content": "x"}'},
    "page": {"GET": b"", "POST": FORM},
    "formulas": {"GET": b""},
    "attachments": {"POST": FORM},
    "attachment": {"GET": b"", "DELETE": b""},
    "members": {"GET": b"", "POST": b'{"user": "dave"}'},
    "member": {"PATCH": b'{"role": "reader"}', "DELETE": b""},
    "conversation-events": {"GET": b""},
    "feedback": {"GET": b""},
    "message-feedback": {"POST": b'{"rating": "up"}', "DELETE": b""},
    "generation-events": {"GET": b""},
    "generation-stop": {"POST": b""},
    "generation-steer": {"POST": b'{"content": "x"}'},
    "generation-retry": {"POST": b""},
    "tool-call": {"POST": b'{"decision": "approve"}'},
}
#: What the owner gets where it is no success. A second prompt and a retry meet the running generation, of which only
#: who is let in gets to know.
EXPECTED: dict[str, tuple[int, ...]] = {
    "messages": (409,),
    "generation-retry": (409,),
    "tool-call": (404,),
    "attachments": (415,),
    # Its form sends no file.
    "page": (200, 400),
}
#: The key of a member of the conversation in question.
MEMBER = "4711"
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE"]
ROUTES = urlpatterns
CASES = [(route, method) for route in ROUTES for method in SERVED.get(route.name or "", {})]
CHANGING = [(route, method) for route, method in CASES if method != "GET"]


def named(value: Any) -> str:
    """Name a test after its route and method."""
    return str(value.name) if isinstance(value, URLPattern) else str(value)


cases = pytest.mark.parametrize(("route", "method"), CASES, ids=named)
with_id = pytest.mark.parametrize(
    ("route", "method"), [case for case in CASES if case[0].pattern.converters], ids=named
)
changing = pytest.mark.parametrize(("route", "method"), CHANGING, ids=named)


def address(route: URLPattern, conversation: str, generation: str) -> str:
    """Return the route's address for these ids; a route of other parts needs a case of its own."""
    known = {
        "conversation": conversation,
        "generation": generation,
        "call": "x",
        "user": MEMBER,
        "attachment": generation,
        "message": generation,
    }
    return reverse(f"llmstream:{route.name}", kwargs={name: known[name] for name in route.pattern.converters})


def foreign() -> tuple[str, str]:
    """Return the ids of a conversation of somebody else's and of its running generation, and of a file there."""
    sent = ask(own("bob"))
    Membership.objects.create(conversation=sent.conversation, user=User.objects.create(pk=int(MEMBER), username="dave"))
    # All of them go by the same id.
    Message.objects.filter(pk=sent.answer.pk).update(public_id=sent.generation.public_id)
    Attachment.objects.create(
        public_id=sent.generation.public_id,
        conversation=sent.conversation,
        uploader=sent.conversation.owner,
        name="a.txt",
        content_type="text/plain",
        size=1,
        file=ContentFile(b"x", "a.txt"),
    )
    return sent.conversation.public_id, sent.generation.public_id


async def call(client: AsyncClient, route: URLPattern, method: str, path: str, **headers: str) -> Any:
    """Make a request that would be right if it came from the right person."""
    body = SERVED[route.name or ""].get(method, b"")
    kind = "multipart/form-data; boundary=b" if body == FORM else "application/json"
    return await client.generic(method, path, body, kind, headers=headers)


def code(response: Any) -> str:
    """Return the code of an error's envelope."""
    error: dict[str, Any] = orjson.loads(response.content)["error"]
    assert error["status"] == response.status_code
    return str(error["code"])


def untouched() -> tuple[int, str, int]:
    """Return what a refused request must leave as it is."""
    found = Conversation.objects.get()
    return found.head, found.title, Event.objects.count()


def test_every_route_has_a_case() -> None:
    assert [route.name for route in ROUTES] == list(SERVED)


@cases
async def test_visitors_are_asked_to_sign_in(running: Engine, route: URLPattern, method: str) -> None:
    conversation, generation = await run_db(foreign)
    before = await run_db(untouched)
    response = await call(browser(), route, method, address(route, conversation, generation), **{"X-CSRFToken": TOKEN})
    assert (response.status_code, code(response)) == (401, "not_authenticated")
    assert await run_db(untouched) == before


@with_id
async def test_what_is_not_yours_looks_like_what_does_not_exist(
    running: Engine, route: URLPattern, method: str
) -> None:
    client = await run_db(browser, "ann")
    ids = await run_db(foreign)
    before = await run_db(untouched)
    answers = []
    for conversation, generation in (ids, ("x" * 22, "x" * 22), ("short", "\u00e4\u00f6")):
        path = address(route, conversation, generation)
        response = await call(client, route, method, path, **{"X-CSRFToken": TOKEN})
        answers.append((response.status_code, response.headers.items(), response.content))
    assert answers[0][0] == 404
    assert list(answers[0][1]) == list(answers[1][1]) == list(answers[2][1])
    assert answers[0][2] == answers[1][2] == answers[2][2]
    assert await run_db(untouched) == before


@pytest.mark.parametrize("route", ROUTES, ids=named)
async def test_other_methods_are_told_which_there_are(running: Engine, route: URLPattern) -> None:
    client = await run_db(browser, "ann")
    ids = await run_db(foreign)
    served = list(SERVED[route.name or ""])
    for method in METHODS:
        if method not in served:
            response = await call(client, route, method, address(route, *ids), **{"X-CSRFToken": TOKEN})
            assert (method, response.status_code) == (method, 405)
            assert response["Allow"].split(", ") == served


@changing
@pytest.mark.parametrize("token", ["", "d" * 32], ids=["without a token", "with a wrong token"])
async def test_changes_need_the_csrf_token(running: Engine, route: URLPattern, method: str, token: str) -> None:
    client = await run_db(browser, "bob")
    conversation, generation = await run_db(foreign)
    before = await run_db(untouched)
    headers = {"X-CSRFToken": token} if token else {}
    response = await call(client, route, method, address(route, conversation, generation), **headers)
    assert (response.status_code, code(response)) == (403, "csrf_failed")
    assert await run_db(untouched) == before


@cases
async def test_the_owner_is_let_in(running: Engine, route: URLPattern, method: str) -> None:
    client = await run_db(browser, "bob")
    accept = "application/json" if route.name == "conversation-events" else "*/*"
    path = address(route, *await run_db(foreign))
    response = await call(client, route, method, path, **{"X-CSRFToken": TOKEN, "Accept": accept})
    assert response.status_code in EXPECTED.get(route.name or "", (200, 201, 204))
