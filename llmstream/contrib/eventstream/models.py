"""Notifications as they are kept for those who come back, each channel with positions of its own."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Channel(models.Model):
    """A sequence of notifications.

    ``head`` is the position of the newest one and is moved under this row's lock. Everything up to ``sent`` has been
    published; whoever publishes begins behind it, in order.
    """

    name = models.CharField(_("name"), max_length=255, unique=True)
    head = models.PositiveBigIntegerField(_("head"), default=0, editable=False)
    sent = models.PositiveBigIntegerField(_("sent"), default=0, editable=False)

    class Meta:
        verbose_name = _("channel")
        verbose_name_plural = _("channels")

    def __str__(self) -> str:
        return self.name


class Notification(models.Model):
    """One notification: ``data`` is its JSON text, ids and states without anything that was said.

    ``about`` names what it tells, where it is looked for in case that nobody was told; each channel has it once.
    """

    channel = models.ForeignKey(Channel, models.CASCADE, related_name="notifications", db_index=False)
    seq = models.PositiveBigIntegerField()
    type = models.CharField(max_length=40)
    data = models.TextField()
    about = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        ordering = ("channel", "seq")
        constraints = (
            models.UniqueConstraint(fields=("channel", "seq"), name="llmstream_notification_position"),
            models.UniqueConstraint(
                fields=("channel", "about"), condition=~models.Q(about=""), name="llmstream_notification_about"
            ),
        )

    def __str__(self) -> str:
        return f"{self.seq} {self.type}"
