"""Generations whose owners are lost, by a crash or at a shutdown: queued again for another process, or ended.

Whoever claims one goes on with the same message from what the log holds; its lost owner is fenced off. What clients
have seen stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Any

from django.db import DatabaseError
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from ..answer import Answer
from ..conf import ModelSettings, get_settings
from ..events import TOOL_RESULT
from ..exceptions import NotFound, ToolInterrupted
from ..log.reading import read_rows
from ..log.rows import database_alias
from ..log.transaction import LogTransaction, locked
from ..models import Generation
from ..prices import rates_of
from ..signals import generation_recovered
from ..toolbox.results import tool_error_object
from .approvals import cut_off, expire, expire_calls
from .endings import Ending, conversations_of, end, first_token_at, in_a_call, lapsed, next_in_line, tokens_sent
from .queries import after_commit, get_generation

logger = logging.getLogger("llmstream.generations")

Status = Generation.Status

REATTACH, RETRY, CONTINUE, INTERRUPT = "reattach", "retry", "continue", "interrupt"


@dataclass(slots=True)
class Sweep:
    """What a sweep has found: conversations in which generations were queued again, were ended, or could not be.

    In those of ``held_up`` a prompt waits that nobody has picked up within a lease's time, or that has lost its owner.
    """

    queued: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    held_up: list[int] = field(default_factory=list)


def way_on(model: ModelSettings | None, *, shown: bool, attached: bool = False) -> str:
    """Return what a model's policy makes of a lost owner, given whether its call of the model had shown anything."""
    ways = model.recovery if model else ()
    if attached and ways[:1] != (INTERRUPT,):
        return REATTACH
    for way in ways:
        if way != RETRY or not shown:
            return way
    return INTERRUPT


def abandoned() -> set[int]:
    """Return the conversations whose generations have lost their owners: lapsed, or queued again and not picked up."""
    generations = Generation.objects.using(database_alias())
    lost = Q(status=Status.RUNNING, lease_expires_at__lt=Now()) | Q(status=Status.QUEUED, started_at__isnull=False)
    return set(generations.filter(lost).values_list("conversation", flat=True))


def sweep() -> Sweep:
    """Queue again or end every generation whose lease has lapsed; settle calls that nobody has decided on in time."""
    found = Sweep()
    for conversation in sorted({*conversations_of(lapsed()), *expire()}):
        try:
            for queued in _settle(conversation):
                (found.queued if queued else found.ended).append(conversation)
        except DatabaseError:
            raise
        except Exception:
            logger.exception("A lapsed generation of conversation %s could not be recovered", conversation)
            found.failed.append(conversation)
    forgotten = Now() - timedelta(seconds=get_settings().lease)
    waiting = next_in_line().filter(Q(created_at__lt=forgotten) | Q(started_at__isnull=False))
    found.held_up = conversations_of(waiting)
    return found


def _settle(conversation: int) -> list[bool]:
    since, mercy = monotonic(), get_settings().lease / 3
    with suppress(NotFound), locked(conversation) as log:
        if monotonic() - since > mercy:
            return []  # Its owner may have waited for the same lock to keep its lease; the next sweep will tell.
        queued = take_back(log)
        expire_calls(log)
        return queued
    return []


def take_back(log: LogTransaction) -> list[bool]:
    """Queue again or end the generations of a locked conversation whose leases have lapsed; tell for each if queued."""
    rows = lapsed().filter(conversation=log.conversation).select_related("message__parent").order_by("pk")
    return [_release(log, generation, crashed=True) for generation in rows]


def hand_over(owned: Mapping[int, int]) -> list[int]:
    """Queue again or end those of ``{generation: fence}`` that run under that fence; return where one was queued."""
    queued = []
    for pk, fence in owned.items():
        try:
            if found := _hand_over(pk, fence):
                queued.append(found)
        except DatabaseError:
            raise
        except Exception:
            logger.exception("Generation %s could not be handed over", pk)
    return queued


def _hand_over(pk: int, fence: int) -> int | None:
    with suppress(NotFound), locked(get_generation(pk).conversation_id) as log:
        generation = get_generation(pk)
        held = generation.status == Status.RUNNING and generation.fence == fence
        return log.conversation.pk if held and _release(log, generation, crashed=False) else None
    return None


def _release(log: LogTransaction, generation: Generation, *, crashed: bool) -> bool:
    """Take a generation from its owner; return whether it is queued again."""
    answer = Answer.from_rows(read_rows(log.conversation.pk, generation.first_seq - 1), generation.pk)
    found = get_settings().model(generation.model)
    # A call that has asked for tools is over: what they return, if only that they were cut off, is for the next one.
    shown = answer.shown and not answer.open_calls
    way = way_on(found[1] if found else None, shown=shown, attached=bool(generation.provider_cursor))
    if way == INTERRUPT or (crashed and generation.takeovers >= get_settings().max_takeovers):
        end(log, generation, Ending(Status.INTERRUPTED))
        return False
    changed: dict[str, Any] = {
        "takeovers": generation.takeovers + crashed,
        "first_token_at": first_token_at(generation),
    }
    if way != REATTACH:
        _close_call(log, generation, answer)
        changed["provider_cursor"] = ""
    Generation.objects.using(database_alias()).filter(pk=generation.pk).update(
        status=Status.QUEUED, lease_expires_at=None, **changed
    )
    after_commit(generation_recovered, Generation, generation=generation)
    return True


def _close_call(log: LogTransaction, generation: Generation, answer: Answer) -> None:
    """Account for the model call that was cut off, and tell that its tools were: they are not run a second time."""
    ids = {"message": generation.message.public_id, "generation": generation.public_id}
    open_calls = answer.open_calls
    if in_a_call(answer):
        rates = rates_of(generation.model, generation.started_at or timezone.now())
        ending = Ending(Status.RUNNING, answer, rates=rates)
        ending.estimate(tokens_sent(log.conversation, generation, answer))
        log.append(ending.call_ended(ids), generation.pk)
    for part in open_calls:
        error = tool_error_object(ToolInterrupted())
        log.append(
            {"type": TOOL_RESULT, **ids, "call": part["call"], "tool": part["tool"], "error": error}, generation.pk
        )
    cut_off(generation.pk)
