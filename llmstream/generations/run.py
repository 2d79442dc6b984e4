"""A generation at work: from the provider's parts to the log, and to its end."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from decimal import Decimal

from django.utils import timezone

from ..conf import get_settings
from ..database import run_db
from ..events import REASONING_DELTA, TEXT_DELTA, clean_text
from ..exceptions import (
    LeaseLost,
    LLMStreamError,
    ProviderError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderTruncated,
    ProviderUnavailable,
)
from ..log.writer import Lane, Writer
from ..models import Generation
from ..providers.base import (
    Finish,
    ProviderPart,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    Usage,
)
from ..providers.registry import load_provider
from ..signals import generation_finished
from .claims import Claim
from .endings import Ending, fail, store_ending, tell_finished

logger = logging.getLogger("llmstream.generations")

Status = Generation.Status

#: Failures before which, as long as nothing has come, no service charges.
_NOT_BILLED = ProviderRejected, ProviderRateLimited, ProviderUnavailable
_MAX_TOKENS = 2**63 - 1
_MAX_COST = 10**8


class Run:
    """Runs one claimed generation as an asyncio task of its own, until ``cut`` or the provider's end."""

    def __init__(self, claim: Claim, writer: Writer) -> None:
        self.claim = claim
        self.task: asyncio.Task[None] | None = None
        self._ending = Ending(Status.COMPLETED)
        self._cut: LLMStreamError | None = None
        self._finishing = False
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._patience = claim.model.first_token_timeout
        self._watcher: asyncio.TimerHandle | None = None
        self._lane = Lane(
            writer,
            conversation=claim.conversation,
            generation=claim.generation,
            fence=claim.fence,
            message_id=claim.message_id,
            generation_id=claim.generation_id,
            stored=claim.stored_events,
            on_lost=self.cut,
        )

    @property
    def alive(self) -> bool:
        """Whether the provider is within its time limits, so that the lease may be renewed."""
        return self._loop.time() < self._heard + self._patience + 1

    def cut(self, reason: LLMStreamError) -> None:
        """Close the provider's stream now. ``LeaseLost`` ends nothing; any other reason fails the generation."""
        if self._cut is None and not self._finishing:
            self._cut = reason
            if self.task:
                self.task.cancel()

    async def __call__(self) -> None:
        """Stream the provider's answer into the log and end the generation."""
        self._watch()
        error: LLMStreamError | None = None
        try:
            await self._consume()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._cut is None and task and task.cancelling():
                raise  # The server goes down; the lapsed lease will tell.
            error = ProviderError()  # or somebody else's cancellation came out of the provider
        except ProviderError as failure:
            error = failure
        except Exception:
            logger.exception("The provider of generation %s raised", self.claim.generation_id)
            error = ProviderError()
        finally:
            self._finishing = True
            if self._watcher:
                self._watcher.cancel()
        await self._finish(self._cut or error)

    async def _consume(self) -> None:
        answer = self._ending.answer
        limit = get_settings().max_answer_chars
        provider = await load_provider(self.claim.model_key)
        self._heard = self._loop.time()  # the first use imports and builds it, which is not the model's time
        async with aclosing(provider.stream(self.claim.request)) as parts:
            async for part in parts:
                self._heard = self._loop.time()
                if type(part) is str:
                    self._text(TEXT_DELTA, part)
                else:
                    self._other(part)
                if answer.length > limit:
                    self._ending.finish_reason = "length"
                    return
        if not self._ending.finish_reason:
            raise ProviderTruncated

    def _text(self, kind: str, text: str) -> None:
        if not text:
            return
        if self._ending.first_token_at is None:
            self._ending.first_token_at = timezone.now()
            self._patience = self.claim.model.token_timeout
            self._watch()
        if not text.isascii() or "\0" in text:
            text = clean_text(text)
        self._lane.delta(kind, self._ending.answer.grow(kind, text), text)

    def _other(self, part: ProviderPart) -> None:
        if isinstance(part, ReasoningDelta):
            self._text(REASONING_DELTA, part.text)
        elif isinstance(part, str | RefusalDelta):
            self._text(TEXT_DELTA, part if isinstance(part, str) else part.text)
        elif isinstance(part, Finish):
            self._ending.finish_reason = clean_text(str(part.reason or "stop"))
        elif isinstance(part, Usage):
            self._ending.usage = _plausible(part)
        elif isinstance(part, ResponseStarted):
            self._ending.response_id = clean_text(str(part.response_id))

    def _watch(self) -> None:
        """Cut a provider that has been silent for too long; else look again when that time would be up."""
        if self._watcher:
            self._watcher.cancel()
        if (left := self._heard + self._patience - self._loop.time()) > 0:
            self._watcher = self._loop.call_later(left, self._watch)
        else:
            self.cut(ProviderTimeout())

    async def _finish(self, error: LLMStreamError | None) -> None:
        if isinstance(error, LeaseLost):
            return
        ending = self._ending
        if error:
            ending.status, ending.error_code, ending.finish_reason = Status.FAILED, error.code, ""
        if ending.first_token_at or not isinstance(error, _NOT_BILLED):
            ending.estimate(sum(len(message.content) for message in self.claim.request.messages))
        *others, terminal = ending.events(self.claim.message_id, self.claim.generation_id)
        try:
            for event in others:
                self._lane.append(event)
            await self._lane.end(terminal, self._store)
        except LeaseLost:
            return
        except LLMStreamError as failure:
            # What was to be stored cannot be: end it with the text that is there.
            await run_db(fail, self.claim.generation, self.claim.fence, failure.code)
            return
        if generation_finished.has_listeners(Generation):
            # Not where it was committed: a slow receiver there would hold up every answer.
            await run_db(tell_finished, self.claim.generation)

    def _store(self, seq: int) -> None:
        claim = self.claim
        store_ending(
            self._ending,
            seq,
            conversation=claim.conversation,
            message=claim.message,
            generation=claim.generation,
            user=claim.user,
            model=claim.model_key,
        )


def _plausible(usage: Usage) -> Usage:
    """Return a provider's figures within what the ledger can hold: an odd one must not cost the answer."""
    names = "input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens"
    counts = {name: getattr(usage, name) for name in names}
    counts = {name: min(max(n, 0), _MAX_TOKENS) if isinstance(n, int) else 0 for name, n in counts.items()}
    cost = usage.cost
    fits = isinstance(cost, Decimal) and cost.is_finite() and 0 <= cost < _MAX_COST
    return Usage(**counts, cost=cost if fits else None)
