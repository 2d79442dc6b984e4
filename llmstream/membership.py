"""The row of a member; import it from ``llmstream.models``."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Membership(models.Model):
    """A user's right in a conversation that somebody else owns."""

    class Role(models.TextChoices):
        """What a member may do: read; read and write; everything the owner may."""

        READER = "reader", _("reader")
        WRITER = "writer", _("writer")
        OWNER = "owner", _("owner")

    conversation = models.ForeignKey("llmstream.Conversation", models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    role = models.CharField(_("role"), max_length=10, choices=Role, default=Role.WRITER)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = (
            models.UniqueConstraint(fields=("conversation", "user"), name="llmstream_membership_unique"),
            models.CheckConstraint(condition=Q(role__in=["reader", "writer", "owner"]), name="llmstream_member_role"),
        )

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"
