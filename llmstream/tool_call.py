"""The row of a tool call; import it from ``llmstream.models``."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .events import WireDecoder


class ToolCall(models.Model):
    """A tool that a model has asked for, and what became of it.

    ``call`` is its id in the events, unique within the generation. A call that needs an approval is pending until
    somebody decides or ``expires_at`` has passed; ``decided_by`` stays empty for an expired one. ``error`` is a code.
    """

    class Status(models.TextChoices):
        """Waiting for a decision, decided, at work, or over."""

        PENDING = "pending", _("pending")
        APPROVED = "approved", _("approved")
        DENIED = "denied", _("denied")
        EXPIRED = "expired", _("expired")
        RUNNING = "running", _("running")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    OPEN = (Status.PENDING, Status.APPROVED, Status.RUNNING)

    generation = models.ForeignKey("llmstream.Generation", models.CASCADE, related_name="tool_calls")
    call = models.CharField(_("call"), max_length=64)
    tool = models.CharField(_("tool"), max_length=64)
    input = models.JSONField(_("input"), decoder=WireDecoder, null=True)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.RUNNING)
    output = models.JSONField(_("output"), decoder=WireDecoder, null=True, blank=True)
    error = models.CharField(_("error"), max_length=60, blank=True)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    approved = models.BooleanField(_("approved"), null=True, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("decided by")
    )
    decided_at = models.DateTimeField(_("decided at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("tool call")
        verbose_name_plural = _("tool calls")
        ordering = ("generation", "pk")
        indexes = (models.Index(fields=("expires_at",), name="llmstream_call_pending", condition=Q(status="pending")),)
        constraints = (
            models.UniqueConstraint(fields=("generation", "call"), name="llmstream_call_unique"),
            models.CheckConstraint(
                condition=~Q(status="pending") | Q(expires_at__isnull=False, approved=None),
                name="llmstream_call_expiry",
            ),
        )

    def __str__(self) -> str:
        return f"{self.tool} ({self.status})"
