"""The app's entry in INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TrigramConfig(AppConfig):
    """Has a migration and nothing else: the database uses the index by itself."""

    name = "llmstream.contrib.trigram"
    label = "llmstream_trigram"
    verbose_name = _("LLM streaming: search index")
