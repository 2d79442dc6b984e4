"""Bytes that are no text, and text that no database takes, anywhere in a request: a client's error, never a failure."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator

import pytest
from django.urls import reverse

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import Conversation
from tests.files import attaching
from tests.http.client import ROOT, conversation_path, cookies, own, signed_in
from tests.http.raw import exchange, page_headers
from tests.http.test_routes import CASES, FORM, SERVED
from tests.support import ask

pytestmark = pytest.mark.django_db(transaction=True)

#: Invalid UTF-8, NUL, a lone surrogate in UTF-8, a line break and a very long value; as they are and quoted.
RAW = (b"\xff\xfe", b"\x00", b"\xed\xa0\x80", b"%ff%fe", b"%00", b"%ed%a0%80", b"%0d%0aX: y", b"x" * 5_000)
QUERIES = [name + b"=" + value for name in (b"last_event_id", b"after", b"wait", b"before", b"ready") for value in RAW]
QUERIES += [b"\xff", b"%", b"&&==", b"a=1&" * 2_000]
HEADERS = [
    (name, value)
    for name in (b"last-event-id", b"idempotency-key", b"accept", b"if-none-match", b"origin", b"x-request-id")
    for value in RAW
]
FIELDS = ("title", "model", "content", "client_id", "busy", "parent", "edits", "leaf", "user", "role", "decision")
TEXTS = (b'"\\u0000"', b'"\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b'["\\u0000"]', b'{"\\u0000": 1}', b"1e999", b"-0")


@pytest.fixture
async def page(running: Engine) -> dict[bytes, bytes]:
    """The headers of a signed-in page's requests."""
    client, _ = await run_db(signed_in, "ann")
    return page_headers(cookies(client))


def addresses() -> Iterator[tuple[str, str, bytes]]:
    """Yield the method, address and a right body of every operation, on a conversation of ann's."""
    sent = ask(own("ann"))
    known = {
        "conversation": sent.conversation.public_id,
        "generation": sent.generation.public_id,
        "message": sent.answer.public_id,
        "attachment": "A" * 22,
        "user": "4711",
        "call": "x",
    }
    for route, method in CASES:
        kwargs = {name: known[name] for name in route.pattern.converters}
        if method != "DELETE":  # which would take what the others ask for
            yield method, reverse(f"llmstream:{route.name}", kwargs=kwargs), SERVED[route.name or ""][method]


async def refused(method: str, path: str, query: bytes, headers: dict[bytes, bytes], body: bytes) -> None:
    """Make a request that must not fail, nor be answered with what was not meant to be told."""
    response = await exchange(method, path, query, headers, body)
    assert response.status < 500, (method, path, query, headers, body, response.body[:300])
    assert b"Traceback" not in response.body


async def test_in_the_query(page: dict[bytes, bytes]) -> None:
    for method, path, _ in await run_db(lambda: list(addresses())):
        if method == "GET":
            for query in QUERIES:
                await refused(method, path, query, page, b"")


async def test_in_headers(page: dict[bytes, bytes]) -> None:
    # By turns, eleven of 48, so that every value and every operation has its part.
    headers = itertools.cycle(HEADERS)
    for method, path, body in await run_db(lambda: list(addresses())):
        for name, value in itertools.islice(headers, 11):
            await refused(method, path, b"", {**page, name: value}, body)


@pytest.mark.parametrize("name", [b"cookie", b"host", b"content-type", b"content-length", b"x-csrftoken"])
async def test_in_the_headers_that_django_reads_first(page: dict[bytes, bytes], name: bytes) -> None:
    for value in RAW:
        given = b"sessionid=" + value if name == b"cookie" else value
        for method, body in (("GET", b""), ("POST", b"{}")):
            await refused(method, f"{ROOT}conversations/", b"", {**page, name: given}, body)


async def test_in_addresses(page: dict[bytes, bytes]) -> None:
    found = await run_db(own, "ann")
    for bad in ("\0", "\ufffd", "a\0" * 11, "\u202e", "%00", "..", "a" * 5_000):
        for place in (f"{ROOT}conversations/{bad}/", f"{ROOT}generations/{bad}/events/", f"{ROOT}attachments/{bad}/"):
            await refused("GET", place, b"", page, b"")
        await refused("PATCH", conversation_path(found, f"members/{bad}/"), b"", page, b'{"role": "reader"}')


async def test_in_bodies(page: dict[bytes, bytes]) -> None:
    before = await run_db(Conversation.objects.count)
    operations = await run_db(lambda: list(addresses()))
    texts = itertools.cycle(TEXTS)  # eight for eleven fields: by turns every field meets every text
    for method, path, body in operations:
        if method in ("POST", "PATCH") and body != FORM:
            for field, text in zip(FIELDS, texts, strict=False):
                await refused(method, path, b"", page, b'{"content": "x", "%b": %b}' % (field.encode(), text))
            for raw in (b"\xff", b"\x00", b"\xef\xbb\xbf{}", b"{}\x00", b'{"\\ud800": 1}'):
                await refused(method, path, b"", page, raw)
    stored = Conversation.objects.exclude(title="").count
    assert await run_db(Conversation.objects.count) > before
    assert await run_db(stored) == 0


async def test_in_forms(page: dict[bytes, bytes]) -> None:
    found = await run_db(own, "ann")
    path = conversation_path(found, "attachments/")
    kind = b"multipart/form-data; boundary=b"
    with attaching():
        for raw in (*RAW, b'";\r\nX: "', b"../../etc/passwd", b"a\\b"):
            for body in (FORM.replace(b"a.txt", raw), FORM.replace(b'"file"', b'"' + raw + b'"'), FORM[:-9] + raw):
                await refused("POST", path, b"", {**page, b"content-type": kind}, body)
        for bad in (b"multipart/form-data", b"multipart/form-data; boundary=\xff", b"multipart/form-data; boundary="):
            await refused("POST", path, b"", {**page, b"content-type": bad}, FORM)


async def test_nothing_of_it_is_an_error_in_the_log(page: dict[bytes, bytes], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        for value in RAW:
            await refused("GET", f"{ROOT}conversations/", b"before=" + value, {**page, b"accept": value}, b"")
    assert caplog.records == []
