"""Pages of other sites: what docs/security.md lets in with django-cors-headers, and that nothing else gets in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.test import override_settings

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.http.handoff import StreamHandoff
from llmstream.models import Conversation
from llmstream.permissions import ConversationPolicy
from tests.documentation import page
from tests.http.client import ROOT, cookies, signed_in
from tests.http.raw import RawResponse, exchange, page_headers
from tests.support import changed, conversation, user
from tests.websocket.visitors import PATH, handshake

pytestmark = pytest.mark.django_db(transaction=True)

OURS = b"https://app.example.com"
FOREIGN = [
    b"https://evil.example",
    b"https://app.example.com.evil.example",
    b"http://app.example.com",
    b"null",
    b"\xff",
]
ORIGIN, CREDENTIALS = b"access-control-allow-origin", b"access-control-allow-credentials"


def recipe(mark: str) -> dict[str, Any]:
    """Run the snippet of docs/security.md with a mark on the settings in force; return the names that it sets."""
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", page("docs/security.md"), re.DOTALL) if mark in code]
    names: dict[str, Any] = {"INSTALLED_APPS": settings.INSTALLED_APPS, "MIDDLEWARE": settings.MIDDLEWARE}
    exec(compile(code, "security.md", "exec"), names)
    return {name: value for name, value in names.items() if name.isupper()}


@pytest.fixture
async def with_cors(running: Engine) -> AsyncIterator[Any]:
    """The site with the settings of the recipe."""
    # The app has checks only, and with other apps Django makes its content types anew.
    named = {name: value for name, value in recipe("CORS_ALLOWED_ORIGINS").items() if name != "INSTALLED_APPS"}
    with override_settings(**named):
        yield StreamHandoff(ASGIHandler())


@pytest.fixture
async def headers(running: Engine) -> dict[bytes, bytes]:
    """The headers of a signed-in page's requests."""
    client, _ = await run_db(signed_in, "ann")
    return page_headers(cookies(client))


async def events_path() -> str:
    """Return the address of the events of a conversation of ann's."""
    found = await run_db(lambda: conversation(owner=user("ann")))
    return f"{ROOT}conversations/{found.public_id}/events/"


def permits(response: RawResponse, origin: bytes) -> bool:
    """Whether a browser would let a page of this origin read a response to a request with cookies."""
    return (response.header(ORIGIN), response.header(CREDENTIALS)) == (origin.decode("latin-1"), "true")


async def preflight(app: Any, path: str, origin: bytes, method: bytes, wanted: bytes) -> RawResponse:
    """Ask as a browser does before a request that no form could send."""
    asked = {b"access-control-request-method": method, b"access-control-request-headers": wanted}
    return await exchange("OPTIONS", path, b"", {b"host": b"testserver", b"origin": origin, **asked}, app=app)


async def test_an_allowed_page_reads_a_stream_with_its_cookies(with_cors: Any, headers: dict[bytes, bytes]) -> None:
    given = {**headers, b"origin": OURS, b"sec-fetch-site": b"cross-site", b"accept": b"text/event-stream"}
    response = await exchange("GET", await events_path(), b"", given, app=with_cors)
    assert response.status == 200
    assert response.header(b"content-type") == "text/event-stream"
    assert b"event: snapshot" in response.body
    assert permits(response, OURS)


async def test_an_allowed_page_sends_prompts(with_cors: Any, headers: dict[bytes, bytes]) -> None:
    body = b'{"title": "from elsewhere"}'
    response = await exchange("POST", f"{ROOT}conversations/", b"", {**headers, b"origin": OURS}, body, app=with_cors)
    assert response.status == 201
    assert permits(response, OURS)


@pytest.mark.parametrize(
    ("method", "wanted"),
    [(b"GET", b"last-event-id"), (b"POST", b"content-type,x-csrftoken,idempotency-key"), (b"DELETE", b"x-csrftoken")],
)
async def test_preflights_of_an_allowed_page_are_answered_before_any_work(
    with_cors: Any, method: bytes, wanted: bytes
) -> None:
    response = await preflight(with_cors, await events_path(), OURS, method, wanted)
    assert response.status == 200
    assert permits(response, OURS)
    assert method.decode() in response.header(b"access-control-allow-methods")
    allowed = response.header(b"access-control-allow-headers").split(", ")
    assert set(wanted.decode().split(",")) <= set(allowed)


async def test_errors_can_be_read_by_an_allowed_page_too(with_cors: Any) -> None:
    given = {b"host": b"testserver", b"origin": OURS}
    response = await exchange("GET", f"{ROOT}conversations/", b"", given, app=with_cors)
    assert (response.status, permits(response, OURS)) == (401, True)


@pytest.mark.parametrize("origin", FOREIGN)
async def test_other_pages_read_nothing_and_change_nothing(
    with_cors: Any, headers: dict[bytes, bytes], origin: bytes
) -> None:
    given = {**headers, b"origin": origin}
    path = await events_path()
    for app in (with_cors, StreamHandoff(ASGIHandler())):
        for accept in (b"text/event-stream", b"application/json"):
            response = await exchange("GET", path, b"", {**given, b"accept": accept}, app=app)
            assert (response.status, response.header(ORIGIN)) == (403, "")
            assert b"permission_denied" in response.body
        response = await exchange("POST", f"{ROOT}conversations/", b"", given, b"{}", app=app)
        assert (response.status, response.header(ORIGIN)) == (403, "")
        response = await preflight(app, path, origin, b"GET", b"last-event-id")
        assert response.header(ORIGIN) == ""
    assert await run_db(Conversation.objects.count) == 1


@pytest.mark.parametrize(("site", "status"), [(b"cross-site", 403), (b"same-origin", 200), (b"none", 200)])
async def test_a_stream_as_an_image_of_another_page_is_not_opened(
    headers: dict[bytes, bytes], running: Engine, site: bytes, status: int
) -> None:
    response = await exchange("GET", await events_path(), b"", {**headers, b"sec-fetch-site": site})
    assert response.status == status
    assert bool(running.hub.topics) == (status == 200 and bool(running.streams))


class TokenPolicy(ConversationPolicy):
    """Signs in by something that no browser adds by itself."""

    def needs_csrf(self, request: Any) -> bool:
        """Never."""
        return False


async def test_what_no_browser_adds_by_itself_may_come_from_anywhere(headers: dict[bytes, bytes]) -> None:
    with changed(POLICY="tests.http.test_other_sites.TokenPolicy"):
        response = await exchange("GET", await events_path(), b"", {**headers, b"origin": FOREIGN[0]})
    assert response.status == 200


@pytest.mark.parametrize(("origin", "accepted"), [(OURS, True), *((other, False) for other in FOREIGN)])
async def test_the_socket_s_recipe_lets_the_allowed_page_in_alone(
    running: Engine, origin: bytes, accepted: bool
) -> None:
    app = recipe_application()
    assert await handshake(app, PATH, origin) is accepted


def recipe_application() -> Any:
    """Return the WebSocket application of the recipe."""
    (code,) = [
        code for code in re.findall(r"```python\n(.*?)```", page("docs/security.md"), re.DOTALL) if "Validator" in code
    ]
    names: dict[str, Any] = {}
    exec(compile(code, "security.md", "exec"), names)
    return names["websocket"]
