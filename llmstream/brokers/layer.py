"""A site's channel layer, which may be dead, slow or restarted at any time."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured

from ..conf import get_settings

logger = logging.getLogger("llmstream.brokers")

#: A layer that takes longer than this for one call counts as away.
PATIENCE = 2.0
_RETRY_FIRST = 0.1
_RETRY_MAX = 1.0


def channel_layer() -> Any:
    """Return the channel layer that the site names; raises ImproperlyConfigured when there is none."""
    alias = get_settings().channel_layer
    if (layer := get_channel_layer(alias)) is None:
        raise ImproperlyConfigured(f"CHANNEL_LAYERS has no {alias!r}, which LLMSTREAM's broker or runner needs.")
    return layer


async def send(layer: Any, channel: str, message: dict[str, Any]) -> None:
    """Send to a channel; one that takes nothing more misses the message."""
    try:
        async with asyncio.timeout(PATIENCE):
            await layer.send(channel, message)
    except ChannelFull:
        logger.debug("The channel %s is full", channel)


async def group_send(layer: Any, group: str, message: dict[str, Any]) -> None:
    """Send to a group."""
    async with asyncio.timeout(PATIENCE):
        await layer.group_send(group, message)


class Outage:
    """How long to wait before the next try; tells the log once when the layer goes and once when it is back."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._delay = 0.0

    def __bool__(self) -> bool:
        return bool(self._delay)

    async def pause(self, error: Exception) -> None:
        """Take note of a failure and wait."""
        if not self._delay:
            logger.warning(
                "%s: the channel layer is away (%s); others hear by polling", self._what, type(error).__name__
            )
        logger.debug("%s: a call failed", self._what, exc_info=error)
        self._delay = min(self._delay * 2 or _RETRY_FIRST, _RETRY_MAX)
        await asyncio.sleep(self._delay)

    def over(self) -> bool:
        """Take note of a success; return whether it is the first one after failures."""
        if not self._delay:
            return False
        self._delay = 0.0
        logger.warning("%s: the channel layer is back", self._what)
        return True
