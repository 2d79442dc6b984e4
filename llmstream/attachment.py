"""The row of an attachment and the storage of its file; import the model from ``llmstream.models``."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from django.conf import settings
from django.core.files.storage import Storage, storages
from django.core.signals import setting_changed
from django.db import models, transaction
from django.db.models import Q
from django.db.models.signals import post_delete
from django.utils.functional import LazyObject, empty
from django.utils.translation import gettext_lazy as _

from .conf import get_settings
from .events import PUBLIC_ID_LENGTH, new_public_id


class _ChosenStorage(LazyObject):  # type: ignore[type-arg]
    """The storage that the site has chosen, looked up on first use."""

    def _setup(self) -> None:
        self._wrapped = storages[get_settings().attachment_storage]


@cache
def attachment_storage() -> Storage:
    """Return where files are kept: the storage that ``ATTACHMENT_STORAGE`` names."""
    chosen: Any = _ChosenStorage()
    return chosen  # type: ignore[no-any-return]


def random_path(instance: models.Model | None, name: str) -> str:
    """Return a path in the storage that nobody can guess; nothing of the client's ``name`` is in it."""
    return f"llmstream/{new_public_id()}"


class Attachment(models.Model):
    """A file that somebody has uploaded to a conversation.

    ``message`` is the one that it was sent with, empty until then; edits of that message may refer to it, too. ``size``
    is 0 until the file is stored. Its file is deleted once the deletion of the row has been committed.
    """

    public_id = models.CharField(max_length=PUBLIC_ID_LENGTH, unique=True, editable=False, default=new_public_id)
    conversation = models.ForeignKey("llmstream.Conversation", models.CASCADE, related_name="attachments")
    message = models.ForeignKey("llmstream.Message", models.CASCADE, null=True, blank=True, related_name="attachments")
    uploader = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("uploader")
    )
    anonymous_id = models.CharField(_("anonymous visitor"), max_length=PUBLIC_ID_LENGTH, blank=True)
    name = models.CharField(_("name"), max_length=255)
    content_type = models.CharField(_("content type"), max_length=100)
    size = models.PositiveBigIntegerField(_("size"), default=0)
    file = models.FileField(_("file"), storage=attachment_storage, upload_to=random_path)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("attachment")
        verbose_name_plural = _("attachments")
        ordering = ("conversation", "pk")
        indexes = (models.Index(fields=("created_at",), name="llmstream_attachment_unsent", condition=Q(message=None)),)
        constraints = (
            models.CheckConstraint(
                condition=Q(uploader=None) | Q(anonymous_id=""), name="llmstream_attachment_one_uploader"
            ),
        )

    def __str__(self) -> str:
        return self.name


def _delete_file(*, instance: Attachment, using: str, **_: Any) -> None:
    # After the commit, and whatever the storage says: a file that stays is less bad than a row without one.
    if instance.file.name:
        transaction.on_commit(partial(attachment_storage().delete, instance.file.name), using=using, robust=True)


def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("LLMSTREAM", "STORAGES"):
        chosen: Any = attachment_storage()
        chosen._wrapped = empty


post_delete.connect(_delete_file, sender=Attachment, dispatch_uid="llmstream.attachment")
setting_changed.connect(_forget, dispatch_uid="llmstream.attachment")
