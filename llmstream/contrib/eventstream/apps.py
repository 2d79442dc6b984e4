"""The app's entry in INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class EventstreamConfig(AppConfig):
    """Registers the system checks, and sends notifications where django-eventstream is installed."""

    name = "llmstream.contrib.eventstream"
    label = "llmstream_eventstream"
    verbose_name = _("LLM streaming: notifications")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks  # noqa: F401, PLC0415  the app registry must be ready

        if apps.is_installed("django_eventstream"):
            from .receivers import connect  # noqa: PLC0415  imports django-eventstream

            connect()
