"""The app's entry in INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class LLMStreamConfig(AppConfig):
    """Registers the system checks."""

    name = "llmstream"
    verbose_name = _("LLM streaming")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks  # noqa: F401, PLC0415  the app registry must be ready
