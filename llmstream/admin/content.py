"""Who may read what people and models said, and the record of who did.

A reading is a row of Django's own log of the admin: it is kept without any configuration, in the transaction of the
request that shows the content, so that nothing is shown that was not recorded; and the History page of a conversation
tells who has read it. A logger's lines would be lost on a site that does not collect them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.utils.translation import gettext as _

from ..models import Conversation

PERMISSION: Final = "llmstream.view_content"

#: ``LogEntry.action_flag`` of a reading; Django's own are 1 to 3.
READ: Final = 4
_BATCH = 500


def may_read(request: HttpRequest) -> bool:
    """Whether the user may read content."""
    return request.user.has_perm(PERMISSION)


def log_read(request: HttpRequest, conversations: Iterable[Conversation], how: str) -> None:
    """Record that the user is about to read something of these conversations."""
    log_read_rows(request, [(conversation.pk, str(conversation)) for conversation in conversations], how)


def log_read_rows(request: HttpRequest, conversations: Sequence[tuple[int, str]], how: str) -> None:
    """Record the same of ``(pk, name)`` pairs."""
    kind = ContentType.objects.get_for_model(Conversation)
    entries = (_entry(request, kind, str(pk), name, how) for pk, name in conversations)
    LogEntry.objects.bulk_create(list(entries), batch_size=_BATCH)


def log_search(request: HttpRequest, term: str) -> None:
    """Record that the user searched what people and models said."""
    kind = ContentType.objects.get_for_model(Conversation)
    _entry(request, kind, None, _("Search"), _("Searched messages for “%s”.") % term).save(force_insert=True)


def _entry(request: HttpRequest, kind: ContentType, pk: str | None, name: str, how: str) -> LogEntry:
    return LogEntry(
        user_id=request.user.pk,  # type: ignore[misc]
        content_type=kind,
        object_id=pk,
        object_repr=name[:200],
        action_flag=READ,
        change_message=how,
    )
