"""The row that keeps a message as HTML; import the model from ``llmstream.models``."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Rendering(models.Model):
    """A settled message as HTML, made when it was first looked at.

    ``version`` tells what it was made of: the texts, the renderer and its settings. One of another version is made
    again. ``html`` holds the HTML of a part by the part's index, and ``formulas`` the formulas of all of them, as the
    widget is given them.
    """

    message = models.OneToOneField("llmstream.Message", models.CASCADE, primary_key=True, related_name="rendering")
    version = models.CharField(_("version"), max_length=64)
    html = models.JSONField(default=dict)
    formulas = models.JSONField(default=list)

    class Meta:
        verbose_name = _("rendering")
        verbose_name_plural = _("renderings")

    def __str__(self) -> str:
        return f"{self.message_id} {self.version[:8]}"
