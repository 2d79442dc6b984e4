"""What people have attached to their messages, as a model gets it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from ..attachment import attachment_storage
from ..attachments import FILE
from ..conf import get_settings
from ..file_types import is_accepted
from ..log.rows import database_alias
from ..models import Attachment, Conversation, Message
from ..providers.base import ChatFile, ChatMessage

#: The file parts of a message, each with the path of its file in the storage.
Files = Sequence[tuple[Mapping[str, Any], str]]


def files_of(conversation: Conversation, until: int) -> dict[int, Files]:
    """Return what was attached to the messages at or before a position, by message."""
    settings = get_settings()
    if not settings.attachable:
        return {}
    sent = Attachment.objects.using(database_alias()).filter(conversation=conversation, message__isnull=False)
    paths = dict(sent.values_list("public_id", "file"))
    if not paths:
        return {}
    said = Message.objects.using(database_alias()).filter(
        conversation=conversation, role=Message.Role.USER, first_seq__lte=until
    )
    newest = said.order_by("-first_seq").values_list("pk", "parts")[: settings.max_messages]
    return {pk: found for pk, parts in newest if (found := _files(parts, paths))}


def files_with(message: Message, rows: Iterable[Attachment]) -> Files:
    """Return what is attached to a message that is being sent."""
    return _files(message.parts, {row.public_id: row.file.name or "" for row in rows})


def user_turn(role: str, text: str, files: Files, model: str) -> ChatMessage:
    """Return a turn with its files for a model; of those that it does not take it is told by name."""
    if not files:
        return ChatMessage(role, text)
    found = get_settings().model(model)
    taken = found[1].attachments if found else ()
    kept = [file for part, path in files if is_accepted((file := _chat_file(part, path)).content_type, taken)]
    left = [part["name"] for part, _ in files if not is_accepted(part["content_type"], taken)]
    return ChatMessage(role, told_of(text, left), files=kept)


def told_of(text: str, names: Sequence[str]) -> str:
    """Return the text of a turn with the names of files that were attached to it and are not sent."""
    return "\n\n".join([*([text] if text else []), *(f"[Attached file {name}: not sent]" for name in names)])


def _files(parts: Iterable[Mapping[str, Any]], paths: Mapping[str, str]) -> Files:
    return [(part, paths[part["id"]]) for part in parts if part["type"] == FILE and part["id"] in paths]


def _chat_file(part: Mapping[str, Any], path: str) -> ChatFile:
    return ChatFile(part["id"], part["name"], part["content_type"], part["size"], partial(_read, path))


def _read(path: str) -> bytes:
    with attachment_storage().open(path) as file:
        data: bytes = file.read()
    return data
