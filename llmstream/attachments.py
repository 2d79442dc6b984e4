"""Attachments: uploaded to a conversation, sent with a message, read by whoever may read the conversation.

An upload is a row first, then a file: what a crash leaves behind is known, and pruned like what was never sent. Files
are written and read outside of transactions, and not by the threads that do database work: a storage may be slow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from .attachment import attachment_storage, random_path
from .conf import get_settings
from .events import PUBLIC_ID_PATTERN, clean_text
from .exceptions import (
    AttachmentSent,
    ConversationHeld,
    InvalidRequest,
    LimitExceeded,
    NoSuchAttachment,
    NotFound,
    TooLarge,
    UnsupportedMediaType,
)
from .file_types import actual_type, claimed_type, is_accepted
from .log.rows import database_alias
from .log.transaction import locked
from .lookup import find_conversation
from .models import Attachment, Conversation, Message
from .permissions import Requester, get_policy

FILE: Final = "file"

_PUBLIC_ID = re.compile(PUBLIC_ID_PATTERN, re.ASCII)
_NAME_LENGTH: Final = 255
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


def begin_upload(requester: Requester, conversation: str, file: UploadedFile[Any] | None) -> Attachment:
    """Return the row of a file that may be stored now; None is a form without one.

    Raises NotFound, PermissionDenied, UnsupportedMediaType, TooLarge, InvalidRequest or LimitExceeded.
    """
    settings = get_settings()
    found = find_conversation(requester, conversation)
    get_policy().check_write(requester, found)
    if file is None or not file.size:
        raise InvalidRequest("Send one file that is not empty, in the field file of a form.")
    content_type = claimed_type(file.content_type or "", name := file.name or "")
    if not is_accepted(content_type, settings.attachable):
        raise UnsupportedMediaType(_("Files of this kind cannot be attached."))
    if file.size > settings.max_attachment_bytes:
        raise TooLarge(_("An attachment may have at most %d bytes.") % settings.max_attachment_bytes)
    with locked(found.pk) as log:
        if _own(requester).filter(message=None).count() >= settings.max_unsent_attachments:
            raise LimitExceeded(_("You have as many attachments that were not sent as one may have."))
        return Attachment.objects.using(database_alias()).create(
            conversation=log.conversation,
            uploader=requester.user_or_none,
            anonymous_id=requester.anonymous_id,
            name=_UNPRINTABLE.sub("", clean_text(name)).strip()[-_NAME_LENGTH:] or "file",
            content_type=content_type,
            file=random_path(None, name),
        )


def store_upload(row: Attachment, file: UploadedFile[Any]) -> None:
    """Write the file of a row, and note in the row what it is by its content; raises UnsupportedMediaType."""
    file.seek(0)
    found = actual_type(row.content_type, file.chunks())
    if found is None or not is_accepted(found, get_settings().attachable):
        raise UnsupportedMediaType(_("The file is not what its type says."))
    file.seek(0)
    row.file.name = attachment_storage().save(row.file.name, file)
    row.content_type, row.size = found, file.size or 0


def end_upload(row: Attachment) -> dict[str, Any]:
    """Make a stored file one that can be sent; return what clients see of it. Raises NotFound when its row is gone."""
    found = Attachment.objects.using(database_alias()).filter(pk=row.pk)
    if not found.update(file=row.file.name, content_type=row.content_type, size=row.size):
        attachment_storage().delete(row.file.name or "")
        raise NotFound
    return part_of(row)


def discard(row: Attachment) -> None:
    """Delete a row whose file is not wanted, and the file."""
    row.delete(using=database_alias())


def part_of(row: Attachment) -> dict[str, Any]:
    """Return an attachment as a part of its message."""
    return {
        "type": FILE,
        "id": row.public_id,
        "name": row.name,
        "content_type": row.content_type,
        "size": row.size,
        "url": reverse("llmstream:attachment", args=[row.public_id]),
    }


def ids_of(parts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the ids of the attachments among a message's parts."""
    return [part["id"] for part in parts if part["type"] == FILE]


def find_attachment(requester: Requester, public_id: str) -> Attachment:
    """Return an attachment that the requester may read; one that was not sent is its uploader's. Raises NotFound."""
    if not _PUBLIC_ID.fullmatch(public_id):
        raise NotFound
    rows = Attachment.objects.using(database_alias()).select_related("conversation")
    found = rows.filter(public_id=public_id, size__gt=0).first()
    if found is None or not get_policy().can_read(requester, found.conversation):
        raise NotFound
    if found.message_id is None and not _is_own(requester, found):
        raise NotFound
    return found


def remove(requester: Requester, public_id: str) -> None:
    """Delete an attachment of the requester's that was not sent.

    Raises NotFound, AttachmentSent or ConversationHeld.
    """
    found = find_attachment(requester, public_id)
    with locked(found.conversation_id) as log:
        if log.conversation.held:
            raise ConversationHeld
        row = Attachment.objects.using(database_alias()).filter(pk=found.pk).first()
        if row is None:
            raise NotFound
        if row.message_id is not None:
            raise AttachmentSent
        discard(row)


def to_send(conversation: Conversation, requester: Requester, ids: Sequence[str], edits: str) -> list[Attachment]:
    """Return the attachments of a message about to be sent, in the order of ``ids``; call it under the row lock.

    They are the requester's own that were not sent, and those of the message that it ``edits``. Raises
    NoSuchAttachment.
    """
    if not ids:
        return []
    rows = Attachment.objects.using(database_alias()).filter(conversation=conversation, size__gt=0)
    known = {row.public_id: row for row in rows.filter(public_id__in=list(filter(_PUBLIC_ID.fullmatch, ids)))}
    again = _attached_to(conversation, edits) if edits else []
    for public_id in ids:
        row = known.get(public_id)
        if row is None or not (public_id in again or (row.message_id is None and _is_own(requester, row))):
            raise NoSuchAttachment
    return [known[public_id] for public_id in ids]


def sent_with(message: Message, rows: Iterable[Attachment]) -> None:
    """Bind attachments to the message that they were sent with; those of an edited message stay with theirs."""
    fresh = [row.pk for row in rows if row.message_id is None]
    if fresh:
        Attachment.objects.using(database_alias()).filter(pk__in=fresh).update(message=message)


def prune_attachments(older_than: timedelta | None = None) -> int:
    """Delete what was uploaded longer ago than ``older_than`` and not sent; return how many there were.

    By default older than ``UNSENT_ATTACHMENT_AGE``. What is under a legal hold stays.
    """
    age = timedelta(seconds=get_settings().unsent_attachment_age) if older_than is None else older_than
    due = Attachment.objects.using(database_alias()).filter(message=None, created_at__lt=timezone.now() - age)
    due = due.filter(conversation__held=False)
    pruned = 0
    for conversation in list(due.order_by().values_list("conversation", flat=True).distinct()):
        # Under the lock under which attachments are sent.
        with suppress(NotFound), locked(conversation):
            for row in due.filter(conversation=conversation):
                discard(row)
                pruned += 1
    return pruned


def _attached_to(conversation: Conversation, message: str) -> list[str]:
    found = Message.objects.using(database_alias()).filter(conversation=conversation, public_id=message)
    return ids_of(next(iter(found.values_list("parts", flat=True)), []))


def _own(requester: Requester) -> QuerySet[Attachment]:
    rows = Attachment.objects.using(database_alias())
    if requester.is_authenticated:
        return rows.filter(uploader=requester.user)
    return rows.filter(uploader=None, anonymous_id=requester.anonymous_id)


def _is_own(requester: Requester, row: Attachment) -> bool:
    if requester.is_authenticated:
        return bool(row.uploader_id == requester.user.pk)
    return bool(requester.anonymous_id) and row.anonymous_id == requester.anonymous_id
