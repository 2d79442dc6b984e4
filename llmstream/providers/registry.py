"""This process's provider instances, one per model that the site names."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any

from django.core.signals import setting_changed

from ..conf import get_settings, import_setting
from ..exceptions import ProviderError, ProviderUnavailable
from .base import Provider
from .function import FunctionProvider

logger = logging.getLogger("llmstream.providers")


class _Instances:
    """The providers built so far, each once, in however many threads it is asked for meanwhile."""

    def __init__(self) -> None:
        self.built: dict[str, Provider] = {}
        self._building: dict[str, threading.Lock] = {}

    def get(self, key: str) -> Provider:
        """Return the provider of a model entry; raises ProviderUnavailable when there is no entry."""
        if (found := get_settings().models.get(key)) is None:
            raise ProviderUnavailable
        # A lock for each, since others need not wait for one that takes its time.
        with self._building.setdefault(key, threading.Lock()):
            if key not in self.built:
                self.built[key] = _build(import_setting(found.provider), found.options)
            return self.built[key]


@cache
def _instances() -> _Instances:
    return _Instances()


def get_provider(key: str) -> Provider:
    """Return the provider of a model entry, built on first use; raises ProviderUnavailable when there is no entry."""
    instances = _instances()
    return instances.built.get(key) or instances.get(key)


def _build(named: Any, options: Mapping[str, Any]) -> Provider:
    built: Provider = named(**options) if isinstance(named, type) else FunctionProvider(named, **options)
    return built


async def load_provider(key: str) -> Provider:
    """Return the provider of a model entry; the first use builds it in a thread, since imports may take a second."""
    if ready := _instances().built.get(key):
        return ready
    return await asyncio.to_thread(get_provider, key)


async def prepare_default() -> None:
    """Have the provider of the site's default model get ready for a first call; what goes wrong is only logged."""
    if (found := get_settings().model()) is None:
        return
    key, _ = found
    try:
        provider = await load_provider(key)
        await provider.prepare()
    except ProviderError as error:
        # The provider has logged what there is to know.
        logger.warning("The model %s is not ready for a first prompt: %s", key, error.code)
    except Exception:
        logger.exception("The model %s is not ready for a first prompt", key)


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "LLMSTREAM":
        _instances.cache_clear()


setting_changed.connect(_forget, dispatch_uid="llmstream.providers")
