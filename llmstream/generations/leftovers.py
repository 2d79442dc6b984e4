"""Responses that go on at their services after their generations have ended: cancelled there, by whoever finds them."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from django.db import DatabaseError
from django.utils import timezone

from ..database import run_db
from ..exceptions import ProviderError, ProviderRejected
from ..log.rows import database_alias
from ..models import Generation, LeftResponse
from ..providers.base import Provider, ResumableProvider
from ..providers.registry import load_provider

logger = logging.getLogger("llmstream.generations")

_AT_ONCE = 100
#: Seconds that a service may take to cancel a response.
_CANCEL_WAIT = 10.0
#: Older ones are over by themselves, and forgotten.
_OLD = timedelta(hours=1)


async def cancel_left() -> int:
    """Cancel the responses that were left; return how many remain to be tried again. Raises DatabaseError."""
    cancelled = []
    rows = await run_db(_left)
    for row in rows:
        if await _cancel_row(row) or row.created_at < timezone.now() - _OLD:
            cancelled.append(row.pk)
    if cancelled:
        await run_db(LeftResponse.objects.using(database_alias()).filter(pk__in=cancelled).delete)
    return len(rows) - len(cancelled)


async def cancel_ended(provider: ResumableProvider, generation: int, response_id: str) -> None:
    """Cancel the response of a generation that was taken from its owner, if that was since it has ended."""
    try:
        if await run_db(_has_ended, generation) and await _cancel(provider, response_id):
            await run_db(LeftResponse.objects.using(database_alias()).filter(response_id=response_id).delete)
    except DatabaseError:
        pass  # What was stored with the end is found by the next sweep.


async def _cancel_row(row: LeftResponse) -> bool:
    try:
        provider = await load_provider(row.model)
    except Exception:
        logger.exception("The provider of model %s cannot be had", row.model)
        return False
    return await _cancel(provider, row.response_id)


async def _cancel(provider: Provider, response_id: str) -> bool:
    """Cancel a response; return whether there is nothing more to be done about it."""
    if not isinstance(provider, ResumableProvider):
        return True
    try:
        async with asyncio.timeout(_CANCEL_WAIT):
            await provider.cancel(response_id)
    except ProviderRejected:
        return True  # It is gone.
    except (ProviderError, TimeoutError):
        logger.warning("Response %s was left and could not be cancelled", response_id)
        return False
    return True


def _left() -> list[LeftResponse]:
    return list(LeftResponse.objects.using(database_alias()).order_by("pk")[:_AT_ONCE])


def _has_ended(generation: int) -> bool:
    active = Generation.objects.using(database_alias()).filter(pk=generation, status__in=Generation.ACTIVE)
    return not active.exists()
