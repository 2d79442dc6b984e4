"""A site with limits, and what was used of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from llmstream.exceptions import (
    LLMStreamError,
)
from llmstream.generations.prompts import Sent
from llmstream.generations.windows import Windows
from llmstream.models import Conversation, Event, Generation, Message, UsageRecord
from llmstream.providers.base import ProviderRequest
from llmstream.quotas import account_of
from tests.support import ask, conversation, model, site, user

WORDS = "word " * 8


def limited(script: Any = None, *, who: str = "USER", prices: Any = None, **limits: Any) -> Any:
    """A site with limits for users, or for ``who``."""
    entry = model(script or endless, RECOVERY=["interrupt"], **({"PRICES": prices} if prices else {}))
    return site(models={"default": entry}, LIMITS={who: limits}, RESERVE_TOKENS=100)


async def endless(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Say ten tokens at a time, for ever."""
    while True:
        yield WORDS
        await asyncio.sleep(0)


def own(name: str = "ann") -> Conversation:
    """Create a conversation of a user."""
    return conversation(owner=user(name))


def used(tokens: int, owner: Conversation, *, cost: Any = None, ago: float = 0) -> None:
    """Put something into the ledger."""
    record = UsageRecord.objects.create(
        conversation=owner, account=account_of(owner), model="default", output_tokens=tokens, cost=cost
    )
    UsageRecord.objects.filter(pk=record.pk).update(created_at=timezone.now() - timedelta(seconds=ago))


def refused(owner: Conversation, error: type[LLMStreamError], content: str = WORDS, **prompt: Any) -> LLMStreamError:
    """Check that a prompt is refused and leaves nothing behind; return with what."""
    before = [kind.objects.count() for kind in (Message, Generation, Event, UsageRecord)]
    with pytest.raises(error) as raised:
        ask(owner, content, **prompt)
    assert [kind.objects.count() for kind in (Message, Generation, Event, UsageRecord)] == before
    return raised.value


def granted(sent: Sent) -> int | None:
    """Return how many output tokens an answer that begins may have at first."""
    assert sent.claim is not None
    return sent.claim.granted


def month_ago() -> float:
    """Return how many seconds ago this month began, and a second more."""
    now = timezone.now()
    return (now - Windows.at(now).month).total_seconds() + 1
