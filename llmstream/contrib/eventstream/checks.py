"""System checks: what notifications need, and what would show them to the wrong people or lose them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ...conf import get_settings

_HERE = "llmstream.contrib.eventstream"
_PREFIX = "llmstream_eventstream"


@register("llmstream_eventstream")
def check_eventstream(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E001-E003, W001-W002: django-eventstream is there, guarded by our policy, and reaches every process."""
    return list(_faults())


def _faults() -> Iterator[CheckMessage]:
    if find_spec("django_eventstream") is None:
        yield Error(
            f"{_HERE} needs django-eventstream, which is not installed. No notifications are sent.",
            hint='pip install "llmstream[eventstream]", or take the app out of INSTALLED_APPS.',
            id=f"{_PREFIX}.E001",
        )
        return
    if not apps.is_installed("django_eventstream"):
        yield Error(
            "django_eventstream is not in INSTALLED_APPS. No notifications are sent.",
            hint="Add 'django_eventstream' to INSTALLED_APPS.",
            id=f"{_PREFIX}.E002",
        )
        return
    if not _is_made_of("EVENTSTREAM_CHANNELMANAGER_CLASS", f"{_HERE}.channelmanager.ChannelManagerMixin"):
        yield Error(
            "EVENTSTREAM_CHANNELMANAGER_CLASS does not ask the permission policy, so people may read about the"
            " conversations of others.",
            hint=f"Set it to '{_HERE}.channelmanager.ChannelManager', or mix ChannelManagerMixin into yours.",
            id=f"{_PREFIX}.E003",
        )
    if not getattr(settings, "EVENTSTREAM_STORAGE_CLASS", None):
        yield Warning(
            "EVENTSTREAM_STORAGE_CLASS is not set: a client that was away does not get what it has missed.",
            hint=f"Set it to '{_HERE}.storage.Storage'.",
            id=f"{_PREFIX}.W001",
        )
    if not hasattr(settings, "EVENTSTREAM_REDIS") and _has_other_processes():
        yield Warning(
            "EVENTSTREAM_REDIS is not set: notifications reach only clients of the process that sends them, and answers"
            " run in others.",
            hint="Set it to the arguments of redis.Redis, such as {'host': '127.0.0.1', 'port': 6379, 'db': 0}.",
            id=f"{_PREFIX}.W002",
        )


def _is_made_of(setting: str, mixin: str) -> bool:
    try:
        return issubclass(import_string(getattr(settings, setting, "")), import_string(mixin))
    except (ImportError, TypeError):
        return False


def _has_other_processes() -> bool:
    try:
        given = get_settings()
        parts = [import_string(path) for path in (given.broker, given.runner)]
    except (ImproperlyConfigured, ImportError, ValueError, TypeError, AttributeError):  # the checks of llmstream tell
        return False
    return any(part.needs_channel_layer for part in parts)
