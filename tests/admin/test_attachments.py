"""Files in the admin: for those who may read content, and recorded; named in exports."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile

from llmstream.export import FORMATS, export
from llmstream.models import Attachment
from tests.files import PNG, attaching
from tests.support import ask, conversation, user

from .staff import ADMIN, VIEW, body, finish, readings, signed_in

pytestmark = pytest.mark.django_db(transaction=True)


def sent_file() -> Attachment:
    """Return a file that was sent and answered."""
    found = conversation(owner=user())
    row = Attachment.objects.create(
        conversation=found, uploader=user(), name="<b>.png", content_type="image/png", size=len(PNG)
    )
    row.file.save("", ContentFile(PNG))
    finish(ask(found, "", attachments=[row.public_id], author=user()))
    row.refresh_from_db()
    return row


def test_a_file_is_for_those_who_may_read_content_and_recorded() -> None:
    with attaching():
        row = sent_file()
        page = f"{ADMIN}conversation/{row.conversation_id}/change/"
        address = f"{ADMIN}conversation/attachments/{row.public_id}/"
        assert signed_in(*VIEW).get(address).status_code == 403
        assert readings() == []
        reader = signed_in(*VIEW, "view_content")
        shown = body(reader.get(page))
        assert f'<a href="{address}"><bdi>&lt;b&gt;.png</bdi></a>' in shown
        response = reader.get(address)
        assert b"".join(response.streaming_content) == PNG  # type: ignore[attr-defined]
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert readings(row.conversation)[-1] == "Read the attachment <b>.png."
        assert reader.get(f"{ADMIN}conversation/attachments/{'x' * 22}/").status_code == 404
        assert "&lt;b&gt;.png" in body(reader.get(f"{ADMIN}message/{row.message_id}/change/"))


def test_exports_name_files() -> None:
    with attaching():
        row = sent_file()
        for kind in FORMATS.values():
            assert "[Attached file: <b>.png]" in "".join(export([row.conversation_id], kind))
