"""How a generation ends: by itself, by a stop, by a failure, or because its owner fell silent.

Whoever ends it does so under the conversation's row lock, with the events, the message, the ledger and the status in
one transaction. So there is exactly one terminal event, and nothing of the generation after it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import DatabaseError
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from ..answer import Answer, plain_text
from ..conf import get_settings
from ..events import MESSAGE_END, PART_KINDS, USAGE, WireEvent, text_checksum
from ..exceptions import NotFound
from ..log.reading import read_rows
from ..log.rows import database_alias
from ..log.transaction import LogTransaction, locked
from ..models import Conversation, Event, Generation, Message, UsageRecord
from ..providers.base import Usage
from ..signals import generation_finished
from ..snapshot import error_object
from ..statements import insert, update
from .claims import history
from .queries import active_generations, after_commit, get_generation

logger = logging.getLogger("llmstream.generations")

Status = Generation.Status

#: Characters per token, for calls whose provider sent no figures.
_CHARS_PER_TOKEN = 4


@dataclass(slots=True)
class Ending:
    """Status, text and usage of a generation at its end."""

    status: str
    answer: Answer = field(default_factory=Answer)
    finish_reason: str = ""
    error_code: str = ""
    usage: Usage | None = None
    estimated: bool = False
    first_token_at: datetime | None = None
    #: The provider's own id of its response.
    response_id: str = ""

    def estimate(self, input_chars: int) -> None:
        """Fill the usage in when the provider sent none."""
        if self.usage is None:
            self.usage = Usage(_tokens(input_chars), _tokens(self.answer.length))
            self.estimated = True

    def events(self, message_id: str, generation_id: str) -> list[WireEvent]:
        """Return the usage event, if there was a call, and the terminal event."""
        ids = {"message": message_id, "generation": generation_id}
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
        return [self._usage_event(ids, self.usage), end] if self.usage else [end]

    def _usage_event(self, ids: dict[str, str], usage: Usage) -> WireEvent:
        return {
            "type": USAGE,
            **ids,
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "reasoning": usage.reasoning_tokens,
            "cached": usage.cached_tokens,
            "cost": None if usage.cost is None else str(usage.cost),
            "estimated": self.estimated,
        }


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
    _end_owned(generation, fence, Ending(Status.FAILED, error_code=code))


def interrupt(owned: Mapping[int, int]) -> None:
    """End those of ``{generation: fence}`` that are running under that fence as interrupted."""
    for generation, fence in owned.items():
        with suppress(NotFound):
            _end_owned(generation, fence, Ending(Status.INTERRUPTED))


def _end_owned(generation: int, fence: int, ending: Ending) -> None:
    found = get_generation(generation)
    with locked(found.conversation_id) as log:
        found = get_generation(generation)
        if found.status == Status.RUNNING and found.fence == fence:
            end(log, found, ending)


def sweep() -> list[int]:
    """End every generation whose lease has lapsed as interrupted; return conversations whose queue is held up.

    A prompt that nobody picked up within a lease's time counts as held up.
    """
    for conversation in lapsed().values_list("conversation", flat=True).order_by("conversation").distinct():
        try:
            settle(conversation)
        except DatabaseError:
            raise
        except Exception:
            logger.exception("A lapsed generation of conversation %s could not be ended", conversation)
    forgotten = Now() - timedelta(seconds=get_settings().lease)
    return _conversations(_next_in_line().filter(created_at__lt=forgotten))


def settle(conversation: int) -> None:
    """End the generations of a conversation whose leases have lapsed as interrupted; others stay as they are."""
    with suppress(NotFound), locked(conversation) as log:
        interrupt_lapsed(log)


def delete_conversation(conversation: Conversation) -> None:
    """Stop what runs in a conversation and delete all of it but the ledger; raises NotFound when it is gone."""
    for generation in active_generations(conversation):
        stop(generation.pk)
    # Under its lock: rows added meanwhile would keep it from being deleted, or lock each other out.
    with locked(conversation.pk) as log:
        log.conversation.delete()


def free_queues(conversations: Sequence[int] | None, limit: int | None = None) -> list[int]:
    """Return those of the conversations (None: of all) in which a prompt waits and nothing is at work.

    At most ``limit``, those that have waited longest first.
    """
    waiting = _next_in_line()
    if conversations is not None:
        waiting = waiting.filter(conversation__in=conversations)
    return _conversations(waiting)[:limit]


def queues(conversations: Sequence[int]) -> dict[int, bool]:
    """Return those of the conversations in which a prompt waits, and for each whether nothing is at work before it."""
    waiting = _queued().filter(conversation__in=conversations).annotate(free=~Exists(_at_work()))
    return dict(waiting.order_by("pk").values_list("conversation", "free"))


def _next_in_line() -> QuerySet[Generation]:
    return _queued().filter(~Exists(_at_work()))


def _queued() -> QuerySet[Generation]:
    return Generation.objects.using(database_alias()).filter(status=Status.QUEUED)


def _at_work() -> QuerySet[Generation]:
    generations = Generation.objects.using(database_alias())
    return generations.filter(conversation=OuterRef("conversation"), status__in=(Status.RUNNING, Status.WAITING))


def _conversations(generations: QuerySet[Generation]) -> list[int]:
    return list(dict.fromkeys(generations.values_list("conversation", flat=True).order_by("pk")))


def end(log: LogTransaction, generation: Generation, ending: Ending) -> None:
    """End a generation from outside its runner, with the text that the log holds."""
    rows = read_rows(log.conversation.pk, generation.first_seq - 1)
    ending.answer = Answer.from_rows(rows, generation.pk)
    if generation.fence:
        prompt = history(log.conversation, generation.message)
        ending.estimate(sum(len(message.content) for message in prompt))
        ending.first_token_at = _first_token_at(generation)
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
        model=generation.model,
    )
    generation.refresh_from_db()
    after_commit(generation_finished, Generation, generation=generation)


def store_ending(
    ending: Ending, end_seq: int, *, conversation: int, message: int, generation: int, user: int | None, model: str
) -> None:
    """Write message, generation and ledger; call in the transaction that stores the terminal event at ``end_seq``."""
    parts, now = ending.answer.parts, timezone.now()
    update(Message, message, status=ending.status, parts=parts, text=plain_text(parts), end_seq=end_seq)
    update(
        Generation,
        generation,
        status=ending.status,
        end_seq=end_seq,
        finish_reason=ending.finish_reason[:40],
        error_code=ending.error_code,
        provider_response_id=ending.response_id[:200],
        lease_expires_at=None,
        stop_requested_at=now if ending.status == Status.STOPPED else None,
        first_token_at=ending.first_token_at,
        ended_at=now,
    )
    if usage := ending.usage:
        record = UsageRecord(
            generation_id=generation,
            conversation_id=conversation,
            user_id=user,
            model=model,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cached_tokens=usage.cached_tokens,
            cost=usage.cost,
            estimated=ending.estimated,
        )
        insert(record)


def tell_finished(generation: int) -> None:
    """Send ``generation_finished`` for a generation that has ended."""
    generation_finished.send_robust(Generation, generation=get_generation(generation))


def interrupt_lapsed(log: LogTransaction) -> None:
    """End the generations of a locked conversation whose owners have let their leases lapse."""
    for generation in lapsed().filter(conversation=log.conversation).select_related("message"):
        end(log, generation, Ending(Status.INTERRUPTED))


def lapsed() -> QuerySet[Generation]:
    """Return the running generations whose owners have let their leases lapse."""
    running = Generation.objects.using(database_alias()).filter(status=Status.RUNNING)
    return running.filter(lease_expires_at__lt=Now())


def _first_token_at(generation: Generation) -> datetime | None:
    deltas = Event.objects.using(database_alias()).filter(
        conversation=generation.conversation_id,
        seq__gt=generation.first_seq,
        generation=generation.pk,
        type__in=PART_KINDS,
    )
    return deltas.order_by("seq").values_list("created_at", flat=True).first()


def _tokens(chars: int) -> int:
    return -(-chars // _CHARS_PER_TOKEN)
