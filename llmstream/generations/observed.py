"""Generations, model calls and tools at work, told to the site's observers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

from django.utils import timezone

from ..exceptions import LeaseLost, LLMStreamError, ProviderError, ToolError
from ..observers import ModelCall, Subject, ToolUse, get_observers, observing
from .claims import Claim
from .endings import Ending


def observed(claim: Claim, work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
    """Return the work on a generation, with observers around it if there are any."""
    return _observed(subject_of(claim), work) if get_observers() else work


async def _observed(subject: Subject, work: Coroutine[Any, Any, None]) -> None:
    with observing("generation", subject):
        await work


@asynccontextmanager
async def observed_call(claim: Claim, ending: Ending, cut: Callable[[], LLMStreamError | None]) -> AsyncIterator[None]:
    """Tell of a model call; what became of it is in ``ending``, and ``cut`` returns why it was cut off, if it was."""
    ending.spoke_at = None
    if not get_observers():
        yield
        return
    call, since = ModelCall(subject_of(claim), claim.request.max_output_tokens), timezone.now()
    with observing("model_call", call):
        try:
            yield
        except LLMStreamError as error:
            call.error = error.code
            raise
        except BaseException:  # a cancellation, or whatever the provider raised
            call.error = _code(cut() or ProviderError())
            raise
        finally:
            call.first, call.usage = _seconds(since, ending.spoke_at), ending.usage
            call.finish_reason = ending.finish_reason


@contextmanager
def observed_tool(claim: Claim, call: str, name: str) -> Iterator[None]:
    """Tell of a tool at work."""
    if not get_observers():
        yield
        return
    use = ToolUse(subject_of(claim), name, call)
    with observing("tool_call", use):
        try:
            yield
        except ToolError as error:
            use.error = error.code
            raise


def subject_of(claim: Claim) -> Subject:
    """Return what observers and log records know of a generation."""
    return Subject(
        claim.conversation_id,
        claim.generation_id,
        claim.model_key,
        claim.model.provider,
        claim.model.model,
        claim.origin,
    )


def _code(reason: LLMStreamError) -> str:
    return "" if isinstance(reason, LeaseLost) else reason.code


def _seconds(since: datetime, until: datetime | None) -> float | None:
    return None if until is None else max(0.0, (until - since).total_seconds())
