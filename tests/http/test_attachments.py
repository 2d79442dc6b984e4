"""Attachments over HTTP: what may be uploaded, who may read it, and how it is sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import User
from django.core.files.storage import InMemoryStorage
from django.test import AsyncClient

from llmstream.attachments import prune_attachments
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.endings import delete_conversation
from llmstream.models import Attachment, Conversation, Membership
from tests.files import PDF, PNG, attaching, file, kept, upload, uploaded
from tests.http.client import ROOT, TOKEN, browser, conversation_path, own, signed_in, signed_in_sync
from tests.support import ask, user
from tests.websocket.visitors import visit

pytestmark = pytest.mark.django_db(transaction=True)

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def code(response: Any) -> tuple[int, str]:
    """Return status and code of an error."""
    error = orjson.loads(response.content)["error"]
    assert error["status"] == response.status_code
    return response.status_code, error["code"]


async def send(client: AsyncClient, found: Conversation, *ids: str, **body: Any) -> Any:
    """Send a prompt with attachments."""
    body = {"content": "Look", "attachments": ids, **body}
    return await client.post(conversation_path(found, "messages/"), body, content_type="application/json")


async def sent(client: AsyncClient, found: Conversation, *ids: str, **body: Any) -> dict[str, Any]:
    """Send a prompt with attachments, and return its message."""
    response = await send(client, found, *ids, **body)
    assert response.status_code == 201, response.content
    message: dict[str, Any] = orjson.loads(response.content)["message"]
    return message


def share(found: Conversation, name: str, role: str) -> None:
    """Give somebody a role in a conversation."""
    Membership.objects.create(conversation=found, user=user(name), role=role)


async def body_of(response: Any) -> bytes:
    """Return what a download has sent."""
    return b"".join([chunk async for chunk in response.streaming_content])


async def test_what_is_uploaded_comes_back_and_does_nothing_in_a_browser(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    found = await run_db(own)
    with attaching() as storage:
        part = await uploaded(client, found, PNG, "../Ph\u00f6to\x01.png", "image/jpeg; x=y")
        assert {**part, "id": "", "url": ""} == {
            **{"type": "file", "id": "", "name": "Ph\u00f6to.png", "content_type": "image/png"},
            **{"size": len(PNG), "url": ""},
        }
        assert part["url"] == f"{ROOT}attachments/{part['id']}/"
        (path,) = kept(storage)
        assert part["id"] not in path
        assert "png" not in path
        response = await client.get(part["url"])
        assert await body_of(response) == PNG
        assert response.headers["Content-Type"] == "image/png"
        assert response.headers["Content-Length"] == str(len(PNG))
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert response.headers["Content-Disposition"].startswith("inline")
        again = await client.get(part["url"], headers={"If-None-Match": response.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [(PDF, "a.pdf", "application/pdf"), (b"<script>alert(1)</script>", "a.html", "text/html"), (b"# Hi", "a.md", "")],
)
async def test_what_is_no_image_is_never_shown_inline(running: Engine, content: bytes, name: str, kind: str) -> None:
    client, _ = await run_db(signed_in)
    found = await run_db(own)
    with attaching():
        part = await uploaded(client, found, content, name, kind)
        response = await client.get(part["url"])
        assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'
        assert response.headers["Content-Type"] == part["content_type"]
        assert await body_of(response) == content


@pytest.mark.parametrize(
    ("content", "kind", "expected"),
    [
        (SVG, "image/svg+xml", (415, "unsupported_media_type")),
        (SVG, "image/png", (415, "unsupported_media_type")),
        (PNG, "text/plain", (415, "unsupported_media_type")),
        (b"caf\xe9", "text/plain", (415, "unsupported_media_type")),
        (b"caf\xc3", "text/plain", (415, "unsupported_media_type")),
        (b"a\0b", "text/plain", (415, "unsupported_media_type")),
        (b"MZ", "application/x-msdownload", (415, "unsupported_media_type")),
        (b"MZ", "rubbish", (415, "unsupported_media_type")),
        (b"x" * 2_001, "text/plain", (413, "too_large")),
        (b"x" * 200_000, "text/plain", (413, "too_large")),
        (b"", "text/plain", (400, "invalid_request")),
    ],
)
async def test_what_a_site_does_not_take_leaves_nothing_behind(
    running: Engine, content: bytes, kind: str, expected: tuple[int, str]
) -> None:
    client, _ = await run_db(signed_in)
    found = await run_db(own)
    with attaching(MAX_ATTACHMENT_BYTES=2_000) as storage:
        assert code(await upload(client, found, content, "x", kind)) == expected
        assert not await run_db(Attachment.objects.exists)
        assert kept(storage) == []


async def test_forms_without_one_file_are_refused(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    found = await run_db(own)
    path = conversation_path(found, "attachments/")
    with attaching():
        for body in (
            {},
            {"other": file()},
            {"file": "text"},
            {"file": [file(), file()]},
            {"file": file(), "b": file()},
        ):
            assert code(await client.post(path, body)) == (400, "invalid_request")
        assert code(await client.post(path, b"x", "multipart/form-data; boundary=b")) == (400, "invalid_request")
        assert code(await client.post(path, {}, "application/json")) == (415, "unsupported_media_type")
    assert not await run_db(Attachment.objects.exists)


async def test_nothing_is_taken_until_the_site_says_so(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    found = await run_db(own)
    with attaching(takes=[]):
        assert code(await upload(client, found)) == (415, "unsupported_media_type")
    with attaching(takes=[], ATTACHMENTS=["image/png"]):
        assert (await upload(client, found)).status_code == 201


async def test_uploads_that_are_not_sent_are_limited_and_removable(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    found = await run_db(own)
    with attaching(MAX_UNSENT_ATTACHMENTS=2) as storage:
        first, _ = [await uploaded(client, found) for _ in range(2)]
        assert code(await upload(client, found)) == (429, "limit_exceeded")
        assert (await client.delete(first["url"])).status_code == 204
        assert code(await client.get(first["url"])) == (404, "not_found")
        assert len(kept(storage)) == 1
        second = await uploaded(client, found)
        await sent(client, found, second["id"])
        assert code(await client.delete(second["url"])) == (409, "attachment_sent")
        assert (await upload(client, found)).status_code == 201


async def test_a_sent_file_is_for_the_conversation_s_readers_and_an_unsent_one_for_its_uploader(
    running: Engine,
) -> None:
    found = await run_db(own)
    for name, role in (("bob", "writer"), ("carol", "reader")):
        await run_db(share, found, name, role)
    clients = {name: (await run_db(signed_in, name))[0] for name in ("ann", "bob", "carol", "dave")}

    async def statuses(url: str) -> list[int]:
        return [(await client.get(url)).status_code for client in (*clients.values(), AsyncClient())]

    with attaching(ALLOW_ANONYMOUS=False):
        assert code(await upload(clients["carol"], found)) == (403, "permission_denied")
        part = await uploaded(clients["bob"], found)
        assert await statuses(part["url"]) == [404, 200, 404, 404, 401]
        assert code(await send(clients["ann"], found, part["id"])) == (400, "no_such_attachment")
        assert code(await clients["ann"].delete(part["url"])) == (404, "not_found")
        await sent(clients["bob"], found, part["id"])
        assert await statuses(part["url"]) == [200, 200, 200, 404, 401]
        foreign, unknown = [
            await clients["dave"].get(f"{ROOT}attachments/{public_id}/") for public_id in (part["id"], "x" * 22)
        ]
        assert (foreign.content, foreign.headers) == (unknown.content, unknown.headers)


async def test_a_visitor_s_uploads_belong_to_the_session(running: Engine) -> None:
    visitor, other = AsyncClient(), AsyncClient()
    with attaching():
        created = await visitor.post(f"{ROOT}conversations/", {}, content_type="application/json")
        mine = orjson.loads(created.content)
        part = await uploaded(visitor, mine["urls"]["self"] + "attachments/")
        assert [(await client.get(part["url"])).status_code for client in (visitor, other)] == [200, 404]
        body = {"content": "", "attachments": [part["id"]]}
        response = await visitor.post(mine["urls"]["messages"], body, content_type="application/json")
        assert orjson.loads(response.content)["message"]["parts"] == [part]


async def test_uploads_need_the_csrf_token(running: Engine) -> None:
    client, found = await run_db(browser, "ann"), await run_db(own)
    with attaching():
        assert code(await upload(client, found)) == (403, "csrf_failed")
        assert (await upload(client, found, **{"X-CSRFToken": TOKEN})).status_code == 201


async def test_a_prompt_names_its_own_unsent_files_of_the_conversation_once(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    found, other = await run_db(own), await run_db(own)
    with attaching(MAX_ATTACHMENTS=2, BUSY="queue"):
        one, two, three = [await uploaded(client, found) for _ in range(3)]
        ids = one["id"], two["id"]
        assert code(await send(client, other, *ids)) == (400, "no_such_attachment")
        for wrong in (["x" * 22], ["short\0"], [one["id"], "x" * 22]):
            assert code(await send(client, found, *wrong)) == (400, "no_such_attachment")
        for malformed in (["a", "a"], "a", [1], {"a": 1}):
            assert code(await send(client, found, attachments=malformed)) == (400, "invalid_request")
        assert code(await send(client, found, *ids, three["id"])) == (429, "limit_exceeded")
        assert code(await send(client, found, content=" ")) == (400, "invalid_request")
        assert not await run_db(found.messages.exists)
        message = await sent(client, found, *ids, client_id="c")
        assert message["parts"] == [{"type": "text", "text": "Look"}, one, two]
        assert (await sent(client, found, *ids, client_id="c"))["id"] == message["id"]
        assert code(await send(client, found, one["id"], client_id="c")) == (409, "idempotency_conflict")
        assert code(await send(client, found, one["id"])) == (400, "no_such_attachment")


async def test_an_edit_takes_files_of_the_edited_message_along(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    found = await run_db(own)
    with attaching(BUSY="interrupt"):
        one, two = [await uploaded(client, found) for _ in range(2)]
        message = await sent(client, found, one["id"])
        edit = await sent(client, found, two["id"], one["id"], edits=message["id"], content="Look again")
        assert [part["id"] for part in edit["parts"][1:]] == [two["id"], one["id"]]
        later = await sent(client, found, edits=edit["id"], content="No files")
        assert code(await send(client, found, one["id"], edits=later["id"])) == (400, "no_such_attachment")
        twice = await sent(client, found, one["id"], edits=edit["id"])
        assert twice["parts"][1:] == [one]
        state = orjson.loads((await client.get(conversation_path(found))).content)
        assert next(item for item in state["messages"] if item["id"] == edit["id"])["parts"] == edit["parts"]
        assert await run_db(lambda: Attachment.objects.count()) == 2


async def test_files_go_with_their_conversation_and_with_their_owner(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    found, other, third = [await run_db(own) for _ in range(3)]
    with attaching() as storage:
        part = await uploaded(client, found)
        await sent(client, found, part["id"])
        await uploaded(client, other)
        await uploaded(client, third)
        assert (await client.delete(conversation_path(third))).status_code == 204
        assert len(kept(storage)) == 2
        await run_db(delete_conversation, found)
        assert len(kept(storage)) == 1
        await run_db(lambda: User.objects.get(username="ann").delete())
        assert kept(storage) == []


async def test_what_was_never_sent_is_pruned(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    found = await run_db(own)
    with attaching() as storage:
        part = await uploaded(client, found)
        await sent(client, found, part["id"])
        unsent = await uploaded(client, found)
        assert await run_db(prune_attachments) == 0
        assert await run_db(prune_attachments, timedelta(0)) == 1
        assert (await client.get(unsent["url"])).status_code == 404
        assert await body_of(await client.get(part["url"])) == PNG
        assert len(kept(storage)) == 1


async def test_an_upload_that_a_storage_refuses_leaves_no_row(running: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> str:
        raise OSError("disk full")

    client, _ = await run_db(signed_in)
    found = await run_db(own)
    with attaching():
        monkeypatch.setattr(InMemoryStorage, "_save", fail)
        assert code(await upload(client, found)) == (500, "error")
    assert not await run_db(Attachment.objects.exists)


async def test_a_file_that_the_storage_has_lost_is_not_found(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    found = await run_db(own)
    with attaching() as storage:
        part = await uploaded(client, found)
        storage.delete(f"llmstream/{kept(storage)[0]}")
        assert code(await client.get(part["url"])) == (404, "not_found")


def test_under_wsgi_files_come_and_go_too(transactional_db: None) -> None:
    client, found = signed_in_sync(), own()
    with attaching():
        part = client.post(conversation_path(found, "attachments/"), {"file": file()}).json()
        response = client.get(part["url"])
        assert b"".join(response.streaming_content) == PNG  # type: ignore[attr-defined]
        assert ask(found, attachments=[part["id"]], author=user()).message.parts[1:] == [part]


async def test_a_socket_sends_files_too(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    found = await run_db(own)
    with attaching():
        part = await uploaded(client, found)
        async with visit(client) as ann:
            refused = await ann.ask("send", room=found.public_id, attachments=["x" * 22])
            assert refused["error"]["code"] == "no_such_attachment"
            for _ in range(2):
                ack = await ann.ask("send", room=found.public_id, attachments=[part["id"]], client_id="c")
                assert ack["message"]["parts"] == [part]
        assert await run_db(found.messages.count) == 2
