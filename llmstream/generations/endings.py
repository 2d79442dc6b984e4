"""How a generation ends: by itself, by a stop, by a failure, or because its owner is lost; see ``recovery`` for that.

Whoever ends it does so under the conversation's row lock, with the events, the message, the ledger and the status in
one transaction. So there is exactly one terminal event, and nothing of the generation after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from ..answer import Answer, plain_text
from ..conf import Rates, get_settings
from ..events import MESSAGE_END, PART_KINDS, USAGE, WireEvent, text_checksum
from ..exceptions import (
    ConversationHeld,
    LimitReached,
    LLMStreamError,
    NotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
)
from ..log.reading import read_rows
from ..log.rows import database_alias
from ..log.transaction import LogTransaction, locked
from ..models import Conversation, Event, Generation, LeftResponse, Message, UsageRecord
from ..prices import rates_of
from ..providers.base import Usage
from ..signals import generation_finished
from ..snapshot import error_object
from ..statements import insert, update
from .approvals import expire_calls, give_up
from .claims import history
from .figures import cost_of, cost_text, input_of, tokens_of
from .queries import active_generations, after_commit, get_generation
from .transcript import length_of, transcript

Status = Generation.Status

#: Failures before which, as long as nothing has come, no service charges.
NOT_BILLED = ProviderRejected, ProviderRateLimited, ProviderUnavailable


@dataclass(slots=True)
class Ending:
    """Status, answer and usage of a generation at its end; ``usage`` is that of its last model call."""

    status: str
    answer: Answer = field(default_factory=Answer)
    finish_reason: str = ""
    error_code: str = ""
    usage: Usage | None = None
    estimated: bool = False
    first_token_at: datetime | None = None
    #: When the model began to speak in its last call.
    spoke_at: datetime | None = None
    #: The provider's own id of its response.
    response_id: str = ""
    #: What the model's tokens cost, where the provider does not say what a call did.
    rates: Rates | None = None

    def speak(self) -> None:
        """Take note that the model begins to say something."""
        self.spoke_at = timezone.now()
        self.first_token_at = self.first_token_at or self.spoke_at

    def cut_short(self, error: LLMStreamError | None) -> None:
        """Take what has cut the answer short, if anything: a limit stops it, and with anything else it has failed."""
        if isinstance(error, LimitReached):
            self.status, self.finish_reason = Status.STOPPED, error.reason
        elif error:
            self.status, self.error_code, self.finish_reason = Status.FAILED, error.code, ""

    def estimate(self, input_tokens: int) -> None:
        """Fill the usage of the last call in when the provider sent none."""
        if self.usage is None:
            said = self.answer.length + self.answer.asked - self.answer.counted
            self.usage = Usage(input_tokens, tokens_of(said))
            self.estimated = True

    def events(self, message_id: str, generation_id: str) -> list[WireEvent]:
        """Return the usage event of the last call, if there was one, and the terminal event."""
        ids = {"message": message_id, "generation": generation_id}
        used = [self.call_ended(ids)] if self.usage else []
        text = plain_text(self.answer.parts)
        end: WireEvent = {
            "type": MESSAGE_END,
            **ids,
            "status": self.status,
            "finish_reason": self.finish_reason or None,
            "text_length": len(text),
            "checksum": text_checksum(text),
        }
        if error := error_object(self.error_code):
            end["error"] = error
        return [*used, end]

    def call_ended(self, ids: dict[str, str]) -> WireEvent:
        """Return the usage event of a model call that is over, and take note of it; the next one has none yet."""
        usage = self.usage or Usage(0, 0)
        event = {
            "type": USAGE,
            **ids,
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "reasoning": usage.reasoning_tokens,
            "cached": usage.cached_tokens,
            "cache_write": usage.cache_write_tokens,
            "cost": cost_text(cost_of(usage, self.rates)),
            "estimated": self.estimated,
        }
        self.answer.apply(event)
        self.usage, self.estimated = None, False
        return event


def stop(generation: int) -> Generation:
    """End a generation as stopped, with the text that clients may have seen; one that has ended stays as it is.

    Its owner is fenced off in the same transaction, wherever it runs: nothing of it is stored afterwards.
    """
    found = get_generation(generation)
    with locked(found.conversation_id) as log:
        found = get_generation(generation)
        if found.status in Generation.ACTIVE:
            end(log, found, Ending(Status.STOPPED))
        return found


def fail(generation: int, fence: int, code: str) -> None:
    """End a generation as failed if ``fence`` still owns it."""
    found = get_generation(generation)
    with locked(found.conversation_id) as log:
        found = get_generation(generation)
        if found.status == Status.RUNNING and found.fence == fence:
            end(log, found, Ending(Status.FAILED, error_code=code))


def fail_next(conversation: int) -> None:
    """End the prompt that is next in a conversation's queue as failed, since it cannot be claimed."""
    with locked(conversation) as log:
        if (found := active_generations(log.conversation)) and found[0].status == Status.QUEUED:
            end(log, found[0], Ending(Status.FAILED, error_code=LLMStreamError.code))


def settle(conversation: int) -> None:
    """End the generations of a conversation whose leases have lapsed as interrupted, whatever their recovery.

    Settles the tool calls that nobody has decided on in time, too.
    """
    with suppress(NotFound), locked(conversation) as log:
        for generation in lapsed().filter(conversation=log.conversation).select_related("message"):
            end(log, generation, Ending(Status.INTERRUPTED))
        expire_calls(log)


def delete_conversation(conversation: Conversation) -> None:
    """Stop what runs in a conversation and delete all of it but the ledger.

    Raises NotFound when it is gone, and ConversationHeld under a legal hold.
    """
    check_not_held([conversation.pk])
    for generation in active_generations(conversation):
        stop(generation.pk)
    # Under its lock: rows added meanwhile would keep it from being deleted, or lock each other out.
    with locked(conversation.pk) as log:
        check_not_held([conversation.pk])
        log.conversation.delete()


def check_not_held(conversations: Iterable[int]) -> None:
    """Raise ConversationHeld when one of the conversations is under a legal hold."""
    if Conversation.objects.using(database_alias()).filter(pk__in=list(conversations), held=True).exists():
        raise ConversationHeld


def free_queues(conversations: Sequence[int] | None, limit: int | None = None) -> list[int]:
    """Return those of the conversations (None: of all) in which a prompt waits and nothing is at work.

    At most ``limit``, those that have waited longest first.
    """
    waiting = next_in_line()
    if conversations is not None:
        waiting = waiting.filter(conversation__in=conversations)
    return conversations_of(waiting)[:limit]


def queues(conversations: Sequence[int]) -> dict[int, bool]:
    """Return those of the conversations in which a prompt waits, and for each whether nothing is at work before it."""
    waiting = _queued().filter(conversation__in=conversations).annotate(free=~Exists(_at_work()))
    return dict(waiting.order_by("pk").values_list("conversation", "free"))


def next_in_line() -> QuerySet[Generation]:
    """Return the queued generations before which nothing is at work."""
    return _queued().filter(~Exists(_at_work()))


def _queued() -> QuerySet[Generation]:
    return Generation.objects.using(database_alias()).filter(status=Status.QUEUED)


def _at_work() -> QuerySet[Generation]:
    generations = Generation.objects.using(database_alias())
    return generations.filter(conversation=OuterRef("conversation"), status__in=(Status.RUNNING, Status.WAITING))


def conversations_of(generations: QuerySet[Generation]) -> list[int]:
    """Return the conversations of generations, that of the oldest first."""
    return list(dict.fromkeys(generations.values_list("conversation", flat=True).order_by("pk")))


def end(log: LogTransaction, generation: Generation, ending: Ending) -> None:
    """End a generation from outside its runner, with the text that the log holds."""
    rows = read_rows(log.conversation.pk, generation.first_seq - 1)
    answer = ending.answer = Answer.from_rows(rows, generation.pk)
    if generation.fence:
        ending.rates = rates_of(generation.model, generation.started_at or timezone.now())
        if (generation.status == Status.RUNNING or generation.provider_cursor) and in_a_call(answer):
            ending.estimate(tokens_sent(log.conversation, generation, answer))
        ending.first_token_at = first_token_at(generation)
        ending.response_id = generation.provider_response_id
    seq = 0
    for event in ending.events(generation.message.public_id, generation.public_id):
        seq = log.append(event, generation.pk)
    store_ending(
        ending,
        seq,
        conversation=log.conversation.pk,
        message=generation.message.pk,
        generation=generation.pk,
        user=log.conversation.owner_id,
        account=generation.account,
        model=generation.model,
    )
    if generation.provider_cursor:
        insert(LeftResponse(model=generation.model, response_id=generation.provider_response_id))
    generation.refresh_from_db()
    after_commit(generation_finished, Generation, generation=generation)


def tokens_sent(conversation: Conversation, generation: Generation, answer: Answer) -> int:
    """Estimate what the model was sent in the call at which the answer's events end."""
    system = found[1].system if (found := get_settings().model(generation.model)) else ""
    sent = [*history(conversation, generation), *transcript(answer.sent)]
    return input_of(len(system) + length_of(sent), generation.model)


def in_a_call(answer: Answer) -> bool:
    """Whether a model was being asked when the answer's events end: not while tools run or wait."""
    return answer.shown or not answer.open_calls


def store_ending(
    ending: Ending,
    end_seq: int,
    *,
    conversation: int,
    message: int,
    generation: int,
    user: int | None,
    account: str,
    model: str,
    steers: int | None = None,
) -> bool:
    """Write message, generation and ledger; call in the transaction that stores the terminal event at ``end_seq``.

    With ``steers``, the number of steering messages that the model has seen, return False when there are more: then
    it must not end yet, and the transaction not be committed.
    """
    parts, now = ending.answer.parts, timezone.now()
    update(Message, message, status=ending.status, parts=parts, text=plain_text(parts), end_seq=end_seq)
    ended = update(
        Generation,
        generation,
        where={} if steers is None else {"steers": steers},
        status=ending.status,
        end_seq=end_seq,
        finish_reason=ending.finish_reason[:40],
        error_code=ending.error_code,
        left_out=ending.answer.left_out,
        provider_response_id=ending.response_id[:200],
        provider_cursor="",
        lease_expires_at=None,
        stop_requested_at=now if ending.status == Status.STOPPED and not ending.finish_reason else None,
        first_token_at=ending.first_token_at,
        ended_at=now,
    )
    if ending.answer.open_calls:
        give_up(generation)
    for call in ending.answer.calls:
        record = UsageRecord(
            generation_id=generation,
            conversation_id=conversation,
            user_id=user,
            account=account,
            model=model,
            input_tokens=call["input"],
            output_tokens=call["output"],
            reasoning_tokens=call["reasoning"],
            cached_tokens=call["cached"],
            cache_write_tokens=call["cache_write"],
            cost=None if call["cost"] is None else Decimal(call["cost"]),
            estimated=call["estimated"],
        )
        insert(record)
    return ended


def tell_finished(generation: int) -> None:
    """Send ``generation_finished`` for a generation that has ended."""
    generation_finished.send_robust(Generation, generation=get_generation(generation))


def lapsed() -> QuerySet[Generation]:
    """Return the running generations whose owners have let their leases lapse."""
    running = Generation.objects.using(database_alias()).filter(status=Status.RUNNING)
    return running.filter(lease_expires_at__lt=Now())


def first_token_at(generation: Generation) -> datetime | None:
    """Return when the first of what a model has said was stored."""
    if generation.first_token_at:
        return generation.first_token_at
    deltas = Event.objects.using(database_alias()).filter(
        conversation=generation.conversation_id,
        seq__gt=generation.first_seq,
        generation=generation.pk,
        type__in=PART_KINDS,
    )
    return deltas.order_by("seq").values_list("created_at", flat=True).first()
