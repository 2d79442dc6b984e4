"""The row of what somebody thinks of an answer; import it from ``llmstream.models``."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .events import PUBLIC_ID_LENGTH

#: The most characters of a comment.
COMMENT_LENGTH = 1_000


class Feedback(models.Model):
    """A thumb up or down for a message, with a few words if there are any; one for each person and message.

    It is its giver's and the site's own: nobody else in the conversation sees it.
    """

    class Rating(models.TextChoices):
        """Whether the answer was good."""

        UP = "up", _("good")
        DOWN = "down", _("bad")

    message = models.ForeignKey("llmstream.Message", models.CASCADE, related_name="feedback")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("user")
    )
    anonymous_id = models.CharField(_("anonymous visitor"), max_length=PUBLIC_ID_LENGTH, blank=True)
    rating = models.CharField(_("rating"), max_length=4, choices=Rating)
    comment = models.CharField(_("comment"), max_length=COMMENT_LENGTH, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        verbose_name = _("feedback")
        verbose_name_plural = _("feedback")
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=("message", "user"), condition=Q(user__isnull=False), name="llmstream_feedback_user"
            ),
            models.UniqueConstraint(
                fields=("message", "anonymous_id"), condition=~Q(anonymous_id=""), name="llmstream_feedback_anonymous"
            ),
            models.CheckConstraint(
                condition=Q(user__isnull=False, anonymous_id="") | (Q(user=None) & ~Q(anonymous_id="")),
                name="llmstream_feedback_one_giver",
            ),
            models.CheckConstraint(condition=Q(rating__in=["up", "down"]), name="llmstream_feedback_rating"),
        )

    def __str__(self) -> str:
        return f"{self.get_rating_display()}, {self.user or self.anonymous_id}"
