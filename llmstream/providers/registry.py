"""This process's provider instances, one per model that the site names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import Any

from django.core.signals import setting_changed

from ..conf import get_settings, import_setting
from ..exceptions import ProviderUnavailable
from .base import Provider
from .function import FunctionProvider


@cache
def _instances() -> dict[str, Provider]:
    return {}


def get_provider(key: str) -> Provider:
    """Return the provider of a model entry, built on first use; raises ProviderUnavailable when there is no entry."""
    if ready := _instances().get(key):
        return ready
    if (found := get_settings().models.get(key)) is None:
        raise ProviderUnavailable
    return _instances().setdefault(key, _build(import_setting(found.provider), found.options))


def _build(named: Any, options: Mapping[str, Any]) -> Provider:
    built: Provider = named(**options) if isinstance(named, type) else FunctionProvider(named, **options)
    return built


async def load_provider(key: str) -> Provider:
    """Return the provider of a model entry; the first use builds it in a thread, since imports may take a second."""
    return get_provider(key) if key in _instances() else await asyncio.to_thread(get_provider, key)


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "LLMSTREAM":
        _instances.cache_clear()


setting_changed.connect(_forget, dispatch_uid="llmstream.providers")
