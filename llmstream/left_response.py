"""The row of a response that is to be cancelled; import it from ``llmstream.models``."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class LeftResponse(models.Model):
    """A response that goes on at its service although its generation has ended, so that it has to be cancelled there.

    It is stored in the transaction that ends the generation and deleted once the service has been told.
    """

    model = models.CharField(_("model"), max_length=100)
    response_id = models.CharField(_("provider's response id"), max_length=200)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("left response")
        verbose_name_plural = _("left responses")

    def __str__(self) -> str:
        return self.response_id
