"""Files under retention: pruned, stripped, erased and held like what was said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.utils import timezone

from llmstream.attachments import remove
from llmstream.exceptions import ConversationHeld
from llmstream.log.transaction import locked
from llmstream.models import Attachment, Conversation, Event, Membership, Message
from llmstream.permissions import Requester
from llmstream.retention.erasing import erase
from llmstream.retention.tombstones import strip
from tests.admin.staff import finish
from tests.files import PNG, attaching, kept
from tests.support import ask, conversation, user

from .support import run

pytestmark = pytest.mark.django_db(transaction=True)

OLD = timedelta(days=2)


@pytest.fixture
def storage() -> Iterator[Storage]:
    """A site that takes files."""
    with attaching() as storage:
        yield storage


def uploaded(found: Conversation, by: str, name: str = "secret.png", age: timedelta = OLD) -> Attachment:
    """Return a file that somebody has uploaded and not sent."""
    row = Attachment.objects.create(
        conversation=found, uploader=user(by), name=name, content_type="image/png", size=len(PNG)
    )
    row.file.save("", ContentFile(PNG))
    Attachment.objects.filter(pk=row.pk).update(created_at=timezone.now() - age)
    return row


def test_the_command_removes_what_was_not_sent_and_is_not_held(storage: Storage) -> None:
    found, held = conversation(owner=user()), conversation(owner=user(), held=True)
    sent, new, stays = uploaded(found, "ann"), uploaded(found, "ann", age=timedelta(0)), uploaded(held, "ann")
    uploaded(found, "ann")
    finish(ask(found, "", attachments=[sent.public_id], author=user()))
    assert "Removed 1 attachments" in run("llmstream_prune")
    assert set(Attachment.objects.values_list("pk", flat=True)) == {sent.pk, new.pk, stays.pk}
    assert len(kept(storage)) == 3
    with pytest.raises(ConversationHeld):
        remove(Requester(user()), stays.public_id)


def test_what_is_stripped_has_no_files(storage: Storage) -> None:
    found = conversation(owner=user())
    finish(ask(found, "", attachments=[uploaded(found, "ann").public_id], author=user()))
    with locked(found.pk) as log:
        strip(log)
    assert kept(storage) == []
    assert "secret" not in json.dumps(list(Message.objects.values_list("parts", flat=True)))


def test_who_is_erased_leaves_no_files_and_no_names_of_them(storage: Storage) -> None:
    shared = conversation(owner=user())
    Membership.objects.create(conversation=shared, user=user("bob"))
    anns, bobs = uploaded(shared, "ann", "anns.png"), uploaded(shared, "bob")
    uploaded(shared, "bob")
    first = finish(ask(shared, "Look", attachments=[bobs.public_id], author=user("bob")))
    ids = [bobs.public_id, anns.public_id]
    edit = ask(shared, "See", attachments=ids, edits=first.message.public_id, author=user())
    finish(edit)
    erase(user("bob"))
    assert list(Attachment.objects.all()) == [anns]
    assert len(kept(storage)) == 1
    told = [*Message.objects.values_list("parts", flat=True), *Event.objects.values_list("data", flat=True)]
    assert "secret" not in json.dumps(told)
    edit.message.refresh_from_db()
    assert [part.get("name", part.get("text")) for part in edit.message.parts] == ["See", "anns.png"]
