"""The app's entry in INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class UnfoldConfig(AppConfig):
    """Registers our models with Unfold's ``ModelAdmin``; its ``admin`` module does it."""

    name = "llmstream.contrib.unfold"
    label = "llmstream_unfold"
    verbose_name = _("LLM streaming: Unfold")
