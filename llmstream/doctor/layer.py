"""The channel layer: whether it carries a message from one process to another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.utils.module_loading import import_string

from ..checks import CORE_LAYER
from ..conf import get_settings, import_setting
from .verdicts import Verdict, fault, ok, warning

_PATIENCE: Final = 2.0
_FIX: Final = "Use channels_redis.pubsub.RedisPubSubChannelLayer on a Redis or Valkey that all processes reach."


def check_layer() -> Iterator[Verdict]:
    """Send through the layer as two processes would, each with a layer of its own."""
    settings = get_settings()
    parts = {"BROKER": settings.broker, "RUNNER": settings.runner}
    users = [name for name, path in parts.items() if import_setting(path).needs_channel_layer]
    if not users:
        yield ok("channel layer", "Neither BROKER nor RUNNER uses one: processes find each other's news by polling.")
        return
    needed_by = " and ".join(users)
    entry = getattr(django_settings, "CHANNEL_LAYERS", {}).get(settings.channel_layer)
    if entry is None:
        yield fault(
            "channel layer", f"CHANNEL_LAYERS has no {settings.channel_layer!r}, but {needed_by} uses it.", _FIX
        )
        return
    yield _carried(entry, needed_by)
    if entry["BACKEND"] == CORE_LAYER:
        yield warning("channel layer kind", "The core Redis layer drops messages at the rate of tokens.", _FIX)


def _carried(entry: Mapping[str, Any], needed_by: str) -> Verdict:
    try:
        took = async_to_sync(_round_trip)(entry["BACKEND"], entry.get("CONFIG", {}))
    except TimeoutError:
        seen = f"A message to another process did not arrive within {_PATIENCE:g} s: {needed_by} reaches nobody."
        return fault("channel layer", seen, _FIX)
    except Exception as error:  # whatever a layer and its client raise
        seen = f"The layer that {needed_by} uses fails: {type(error).__name__}: {error}"
        return fault("channel layer", seen, "Start Redis or Valkey, or correct CHANNEL_LAYERS.")
    return ok("channel layer", f"A message to another process took {took * 1000:.0f} ms.")


async def _round_trip(backend: str, config: dict[str, Any]) -> float:
    """Return the seconds that a message took; raises TimeoutError when it did not arrive."""
    here, there = (import_string(backend)(**config) for _ in range(2))
    async with asyncio.timeout(_PATIENCE):
        channel = await there.new_channel()
        receiving = asyncio.ensure_future(there.receive(channel))
        begun = monotonic()
        await here.send(channel, {"type": "llmstream.doctor"})
        await receiving
    return monotonic() - begun
