"""A generation at work: from the provider's parts to the log, and to its end.

A model that asks for tools is called again with their results, until it has finished by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import replace

from django.db import DatabaseError

from ..conf import get_settings
from ..context import fitted
from ..database import run_db
from ..events import CONTEXT, REASONING_DELTA, TEXT_DELTA, clean_text
from ..exceptions import (
    LeaseLost,
    LimitReached,
    LLMStreamError,
    ProviderError,
    ProviderMalformed,
    ProviderRejected,
    ProviderTimeout,
    ProviderTruncated,
)
from ..log.group import WriteRefused
from ..log.sql import ResponseCursor
from ..log.writer import Writer
from ..models import Generation
from ..providers.base import (
    AgentPart,
    Cursor,
    Finish,
    Provider,
    ProviderPart,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    ResumableProvider,
    ToolCall,
    ToolSpec,
    Usage,
)
from ..providers.registry import load_provider
from ..signals import generation_finished
from ..toolbox.registry import load_tools
from .agent_parts import AgentParts
from .approvals import suspend, tell_requested
from .claims import Claim
from .endings import NOT_BILLED, Ending, fail, store_ending, tell_finished
from .figures import plausible, tokens_of
from .followed import FollowedResponse
from .meter import Meter
from .observed import observed_call
from .patience import Patience, closing, insist
from .recovery import INTERRUPT, way_on
from .steering import read_steers
from .teller import RunTeller, open_lane
from .tool_calls import Call, ToolCalls
from .transcript import continued, length_of, transcript

logger = logging.getLogger("llmstream.generations")

Status = Generation.Status

#: Ends after which nothing that the model asked for is run.
_CUT_SHORT = {"length", "content_filter"}


class Run:
    """Runs one claimed generation as an asyncio task of its own, until ``cut`` or the provider's end."""

    def __init__(self, claim: Claim, writer: Writer) -> None:
        self.claim = claim
        self.task: asyncio.Task[None] | None = None
        self._ending = Ending(Status.COMPLETED, claim.answer, first_token_at=claim.first_token_at, rates=claim.rates)
        self._meter = Meter(claim)
        self._request = claim.request
        self._cut: LLMStreamError | None = None
        self._finishing = False
        #: Whether it has asked for decisions and is no longer ours, and whether a steering message held its end up.
        self._suspended = self._held_up = False
        self._steered_until = claim.first_seq
        self._loop = asyncio.get_running_loop()
        self._patience = Patience(claim.model.first_token_timeout, lambda: self.cut(ProviderTimeout()))
        #: Whether the model is being asked, has said something, and goes on with a text that ends in white space.
        self._calling = self._speaking = self._joint = False
        self._lane = open_lane(claim, writer, on_lost=self.cut)
        self._followed = FollowedResponse(self._lane, claim.response, claim.answer.length)
        self._response = claim.response
        self._teller = RunTeller(self._lane, claim.answer, claim.message_id, claim.generation_id)
        self._agent = AgentParts(self._teller)
        self._asked: list[Call] = []

    @property
    def alive(self) -> bool:
        """Whether the provider or its tools are within their time limits, so that the lease may be renewed."""
        return self._patience.left > -1

    def cut(self, reason: LLMStreamError) -> None:
        """Close the provider's stream now. ``LeaseLost`` ends nothing; any other reason fails the generation."""
        if self._cut is None and not self._finishing:
            self._cut = reason
            if isinstance(reason, LeaseLost):
                self._followed.leave()
            insist(self.task, lambda: self._finishing)

    async def __call__(self) -> None:
        """Stream the provider's answer into the log and end the generation, unless it waits for somebody."""
        late = self._loop.call_later(get_settings().max_generation_seconds, self.cut, LimitReached("time"))
        try:
            error = await self._attempt()
            while not self._suspended and not await self._finish(self._cut or error):
                self._finishing = False
                error = await self._attempt()
        finally:
            late.cancel()

    async def _attempt(self) -> LLMStreamError | None:
        """Work until the provider has finished, or why it did not."""
        try:
            await self._work()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._cut is None and task and task.cancelling():
                self._followed.leave()
                raise  # The server goes down; the engine hands it over, or the lapsed lease will tell.
            return ProviderError()  # or somebody else's cancellation came out of the provider
        except (ProviderError, LeaseLost, LimitReached) as failure:
            return failure
        except GeneratorExit:
            raise
        except BaseException:  # SystemExit and its like would end the event loop, and the server with it
            about = self.claim.about(ProviderError.code)
            logger.exception("The provider of generation %s raised", self.claim.generation_id, extra=about)
            return ProviderError()
        finally:
            self._finishing = True
            self._patience.stop()
        return None

    async def _work(self) -> None:
        self._patience.watch(self.claim.model.first_token_timeout)
        provider = await load_provider(self.claim.model_key)
        tools = await load_tools(self.claim.model)
        calls = ToolCalls(self.claim, self._teller, tools)
        answer = self._ending.answer
        self._asked = [calls.again(part) for part in answer.open_calls if part["approval"]]
        going_on = bool(answer.next_part or answer.calls or self._asked)
        while True:
            if self._asked and not await self._use_tools(calls):
                return
            if going_on and not self._response:
                await self._take_steers()
            await self._prepare([tool.spec for tool in tools.values()])
            again = await self._step(provider, calls)
            if not again or (self._asked and len(answer.calls) + 1 >= get_settings().max_steps):
                return
            self._call_ended()
            going_on = True

    async def _prepare(self, tools: Sequence[ToolSpec]) -> None:
        """Make the request of the next call, and tell when the model is not sent all of its history."""
        claim, answer = self.claim, self._ending.answer
        turns, self._joint = continued(transcript(answer.parts))
        self._request = replace(claim.request, messages=[*claim.request.messages, *turns], tools=tools)
        left_out = answer.left_out
        if not self._response:  # Otherwise the service has it already.
            self._request, left_out = await fitted(self._request, claim.model_key, claim.model)
        if left_out != answer.left_out:
            self._teller.tell(CONTEXT, messages=len(self._request.messages), left_out=left_out)

    async def _step(self, provider: Provider, calls: ToolCalls) -> bool:
        """Ask the model once, or hear out what an earlier owner has asked; return whether it has to be asked again."""
        response, self._response = self._response, None
        if response is None:
            await self._call(provider, provider.stream(self._request), calls)
        elif not await self._resume(provider, calls, response):
            if way_on(self.claim.model, shown=self._ending.answer.shown) != INTERRUPT:
                return True
            self._ending.status = Status.INTERRUPTED
        return bool(self._asked)

    async def _resume(self, provider: Provider, calls: ToolCalls, response: ResponseCursor) -> bool:
        """Go on with a response that an earlier owner has begun; return False when there is no way back into it."""
        self._joint = False
        if isinstance(provider, ResumableProvider):
            stream = provider.resume(self._request, response.response_id, int(response.cursor))
            try:
                await self._call(provider, stream, calls)
            except ProviderRejected:
                if self._speaking or self._asked:
                    raise
            else:
                return True
        self._followed.forget()
        return False

    async def _call(self, provider: Provider, stream: AsyncGenerator[ProviderPart, None], calls: ToolCalls) -> None:
        """Hear a model out."""
        answer, ending = self._ending.answer, self._ending
        step = len(answer.calls) + 1
        self._asked, self._agent, ending.finish_reason = [], AgentParts(self._teller), ""
        limit = await self._meter.begin(answer, length_of(self._request.messages))
        self._calling, self._speaking = True, False
        self._followed.begin(provider)
        self._patience.watch(self.claim.model.first_token_timeout)
        async with observed_call(self.claim, ending, lambda: self._cut), closing(stream) as parts:
            async for part in parts:
                self._patience.heard = self._loop.time()
                if type(part) is str:
                    self._text(TEXT_DELTA, part)
                elif isinstance(part, ToolCall):
                    self._ask(calls, part, step)
                else:
                    self._other(part, step)
                if answer.length > limit and answer.length > (limit := await self._meter.more(answer)):
                    ending.finish_reason, self._asked = "length", []
                    self._patience.stop()  # Nothing more is expected of it; it may take its time to close.
                    return
            if not ending.finish_reason:
                raise ProviderTruncated
        if ending.finish_reason in _CUT_SHORT:
            self._asked = []
        elif self._asked:
            ending.finish_reason = "tool_calls"

    def _ask(self, calls: ToolCalls, asked: ToolCall, step: int) -> None:
        if len(self._asked) >= get_settings().max_tool_calls:
            raise ProviderMalformed
        self._followed.forget()
        self._asked.append(calls.ask(asked, step))

    def _call_ended(self) -> None:
        self._ending.estimate(tokens_of(length_of(self._request.messages)))
        self._lane.append(self._ending.call_ended(self._teller.ids))
        self._calling = False

    async def _use_tools(self, calls: ToolCalls) -> bool:
        """Run what the model has asked for; return False when it waits for somebody's decision instead."""
        free = [call for call in self._asked if not call.approval]
        # Each has its own time limit, and the model has none meanwhile.
        self._patience.grant(max([call.timeout for call in free], default=self.claim.model.token_timeout))
        await calls.run(free)
        if pending := [call for call in self._asked if call.approval]:
            await self._suspend(calls, pending)
        return not pending

    async def _suspend(self, calls: ToolCalls, pending: Sequence[Call]) -> None:
        expires_at, (*others, last) = calls.requests(pending)
        since, self._finishing, ids = self._ending.first_token_at, True, [call.id for call in pending]
        for event in others:
            self._lane.append(event)
        await self._lane.end(last, lambda _: suspend(self.claim.generation, ids, expires_at, first_token_at=since))
        self._suspended = True
        await run_db(tell_requested, self.claim.generation, ids)

    async def _take_steers(self) -> None:
        """Hand the model what people have said since it was asked last."""
        with suppress(DatabaseError):  # The next call, or the end, finds them.
            found = await run_db(read_steers, self.claim.conversation, self.claim.generation, self._steered_until)
            self._teller.take(steer for _, steer in found)
            self._steered_until = found[-1][0] if found else self._steered_until

    def _text(self, kind: str, text: str) -> None:
        if self._joint and kind == TEXT_DELTA and (text := text.lstrip()):
            self._joint = False
        if not text:
            return
        if not self._speaking:
            self._speaking = True
            self._ending.speak()
            self._patience.watch(self.claim.model.token_timeout)
        if not text.isascii() or "\0" in text:
            text = clean_text(text)
        self._lane.delta(kind, self._ending.answer.grow(kind, text), text)

    def _other(self, part: ProviderPart, step: int) -> None:
        if isinstance(part, ReasoningDelta):
            self._text(REASONING_DELTA, part.text)
        elif isinstance(part, str | RefusalDelta):
            self._text(TEXT_DELTA, part if isinstance(part, str) else part.text)
        elif isinstance(part, Finish):
            self._ending.finish_reason = clean_text(str(part.reason or "stop"))
            self._followed.finish(self._ending.answer.length)
        elif isinstance(part, Usage):
            self._ending.usage = plausible(part)
        elif isinstance(part, ResponseStarted):
            self._followed.response_id = clean_text(str(part.response_id))
        elif isinstance(part, Cursor):
            self._followed.follow(part, self._ending.answer.length)
        elif isinstance(part, AgentPart):
            self._agent.show(part, step)

    async def _finish(self, error: LLMStreamError | None) -> bool:
        """End the generation; return False when the model has to be asked once more first."""
        if isinstance(error, LeaseLost):
            await self._followed.cancel_ended(self.claim.generation)
            return True
        ending, self._ending.response_id = self._ending, self._followed.response_id
        ending.cut_short(error)
        if self._calling and (self._speaking or self._asked or not isinstance(error, NOT_BILLED)):
            ending.estimate(tokens_of(length_of(self._request.messages)))
        *others, terminal = ending.events(self.claim.message_id, self.claim.generation_id)
        try:
            for event in others:
                self._lane.append(event)
            await self._lane.end(terminal, self._store)
        except LeaseLost:
            return not self._go_on()
        except LLMStreamError as failure:
            # What was to be stored cannot be: end it with the text that is there.
            await run_db(fail, self.claim.generation, self.claim.fence, failure.code)
            return True
        if generation_finished.has_listeners(Generation):
            # Not where it was committed: a slow receiver there would hold up every answer.
            await run_db(tell_finished, self.claim.generation)
        return True

    def _go_on(self) -> bool:
        """Take the lane up again when it was a steering message that held the end up."""
        if not self._held_up or self._cut:
            return False
        self._held_up = self._calling = False
        self._lane.reopen()
        return True

    def _store(self, seq: int) -> None:
        claim, ending = self.claim, self._ending
        asked_again = ending.status == Status.COMPLETED and len(ending.answer.calls) < get_settings().max_steps
        ended = store_ending(
            ending,
            seq,
            conversation=claim.conversation,
            message=claim.message,
            generation=claim.generation,
            user=claim.user,
            account=claim.account,
            model=claim.model_key,
            steers=len(ending.answer.taken) if asked_again and ending.finish_reason not in _CUT_SHORT else None,
        )
        if ending.status in (Status.FAILED, Status.STOPPED):
            self._followed.store_left(claim.model_key)
        if not ended:
            self._held_up = True
            raise WriteRefused({(claim.generation, claim.fence)})
