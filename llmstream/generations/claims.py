"""The right to run a generation: claiming it, keeping it, and what its runner needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.db.models.functions import Now
from django.utils import timezone

from ..answer import Answer
from ..conf import ModelSettings, Rates, get_settings
from ..database import write_transaction
from ..events import GENERATION_START
from ..log.group import owner_events
from ..log.reading import read_rows
from ..log.rows import database_alias
from ..log.sql import ResponseCursor
from ..log.transaction import LogTransaction, locked
from ..models import Conversation, Generation, Message, ToolCall
from ..prices import rates_of
from ..providers.base import ChatMessage, ProviderRequest
from ..signals import generation_started
from ..statements import messages_until
from .admission import Grant, is_limited
from .approvals import take_up
from .files import Files, files_of, user_turn
from .queries import active_generations, after_commit
from .transcript import transcript

Status = Generation.Status


@dataclass(frozen=True, slots=True)
class Claim:
    """Ownership of a running generation: everything that its runner needs, and the fence that proves it.

    ``answer`` is what earlier owners have made of it, and ``author`` the person whose prompt is answered. ``granted``
    are the output tokens that it has reserved for its next model call, None when nothing limits it; its calls are
    charged by ``rates``, those of the time when it ``began``. ``response`` is the one that its service goes on with, by
    its id and cursor. ``origin`` leads to the request that asked for it.
    """

    conversation: int
    message: int
    generation: int
    user: int | None
    account: str
    author: Any
    first_seq: int
    conversation_id: str
    generation_id: str
    message_id: str
    fence: int
    stored_events: int
    model_key: str
    model: ModelSettings
    request: ProviderRequest
    began: datetime
    rates: Rates | None
    granted: int | None = None
    answer: Answer = field(default_factory=Answer)
    first_token_at: datetime | None = None
    response: ResponseCursor | None = None
    origin: str = ""

    def about(self, code: str = "") -> dict[str, str]:
        """Return what log records say of it, and of what went wrong."""
        ids = {"conversation": self.conversation_id, "generation": self.generation_id, "model": self.model_key}
        return {**ids, "code": code}


def claim(
    log: LogTransaction,
    generation: Generation,
    branch: Sequence[ChatMessage],
    answer: Answer | None = None,
    *,
    grant: Grant | None = None,
) -> Claim:
    """Return what runs a generation that the caller has made ours; ``branch`` is its history.

    Announces its begin, unless it goes on from ``answer``. Without the ``grant`` of its prompt it has to ask for one.
    """
    began = generation.started_at or timezone.now()
    key, model = get_settings().model(generation.model) or (generation.model, ModelSettings(provider=""))
    if answer is None:
        _announce(log, generation, key)
    system = [ChatMessage("system", model.system)] if model.system else []
    return Claim(
        conversation=log.conversation.pk,
        message=generation.message.pk,
        generation=generation.pk,
        user=log.conversation.owner_id,
        account=generation.account,
        author=generation.message.parent.author_id if generation.message.parent else None,
        first_seq=generation.first_seq,
        conversation_id=log.conversation.public_id,
        generation_id=generation.public_id,
        message_id=generation.message.public_id,
        fence=generation.fence,
        stored_events=_stored_events(log, generation),
        model_key=key,
        model=model,
        request=ProviderRequest(
            generation=generation.public_id,
            model=model.model,
            messages=[*system, *branch],
            options=model.parameters,
            max_output_tokens=model.max_output_tokens,
        ),
        began=began,
        rates=rates_of(key, began),
        granted=grant.output if grant else 0 if is_limited(log.conversation) else None,
        answer=answer or Answer(),
        first_token_at=generation.first_token_at,
        response=ResponseCursor(generation.provider_response_id, generation.provider_cursor)
        if generation.provider_cursor
        else None,
        origin=generation.origin,
    )


def _announce(log: LogTransaction, generation: Generation, model: str) -> None:
    start = {
        "type": GENERATION_START,
        "generation": generation.public_id,
        "message": generation.message.public_id,
        "model": model,
        "attempt": generation.attempt,
    }
    log.append(start, generation.pk)
    after_commit(generation_started, Generation, generation=generation)


def claim_next(conversation: int) -> tuple[Claim | None, bool]:
    """Claim the oldest queued generation if none is at work before it; also tell whether others are still queued."""
    with locked(conversation) as log:
        queue = active_generations(log.conversation)
        claimed = None
        if queue and queue[0].status == Status.QUEUED:
            generation = queue.pop(0)
            answer = _answer_so_far(log, generation) if generation.started_at else None
            generation.status, generation.fence = Status.RUNNING, generation.fence + 1
            Generation.objects.using(database_alias()).filter(pk=generation.pk).update(
                status=generation.status,
                fence=generation.fence,
                started_at=generation.started_at or timezone.now(),
                lease_expires_at=lease_end(),
            )
            claimed = claim(log, generation, history(log.conversation, generation), answer)
        return claimed, any(generation.status == Status.QUEUED for generation in queue)


def renew(owned: Mapping[int, int]) -> None:
    """Prolong the leases of ``{generation: fence}``; those that are no longer owned are left alone.

    Rows that a flush is just ending are passed over, so that the two never wait for each other in a circle.
    """
    alias = database_alias()
    skip = connections[alias].features.has_select_for_update_skip_locked
    generations = Generation.objects.using(alias)
    with write_transaction(alias):
        mine = generations.select_for_update(skip_locked=skip).filter(pk__in=list(owned), status=Status.RUNNING)
        free = [pk for pk, fence in mine.values_list("pk", "fence") if owned[pk] == fence]
        generations.filter(pk__in=free, status=Status.RUNNING).update(lease_expires_at=lease_end())


def still_owned(owned: Mapping[int, int]) -> set[int]:
    """Return those of ``{generation: fence}`` that are running under that fence."""
    running = Generation.objects.using(database_alias()).filter(pk__in=list(owned), status=Status.RUNNING)
    return {pk for pk, fence in running.values_list("pk", "fence") if owned[pk] == fence}


def history(conversation: Conversation, generation: Generation, model: str = "") -> list[ChatMessage]:
    """Return the branch that leads to a generation's answer, oldest first, for its model or another one."""
    question = generation.message.parent
    if question is None:
        return []
    until = question.first_seq - 1
    if question.parent_id:
        # Not the newest ones before the question: it may be an edit of an old message.
        found = Message.objects.using(database_alias()).filter(pk=question.parent_id)
        until = found.values_list("first_seq", flat=True).first() or until
    rows = messages_until(conversation.pk, until, get_settings().max_messages)
    key = model or generation.model
    worked, attached = answers_with_tools(conversation, key, until), files_of(conversation, question.first_seq)
    branch = branch_to(question.parent_id, {pk: turn for pk, _, *turn in rows}, worked, attached, key)
    return [*branch, user_turn(question.role, question.text, attached.get(question.pk, ()), key)]


def answers_with_tools(conversation: Conversation, model: str, until: int) -> dict[int, list[dict[str, Any]]]:
    """Return ``{message: parts}`` of the answers at or before a position in which tools were used.

    There are none for a model that has no tools itself.
    """
    found = get_settings().model(model)
    if found is None or not found[1].tools:
        return {}
    answers = Message.objects.using(database_alias()).filter(
        conversation=conversation, first_seq__lte=until, end_seq__isnull=False
    )
    worked = answers.filter(
        pk__in=ToolCall.objects.filter(generation__conversation=conversation).values("generation__message")
    )
    return dict(worked.order_by("-first_seq").values_list("pk", "parts")[: get_settings().max_messages])


def branch_to(
    message: int | None,
    known: Mapping[int, Sequence[Any]],
    worked: Mapping[int, list[dict[str, Any]]],
    attached: Mapping[int, Files],
    model: str,
) -> list[ChatMessage]:
    """Return the turns that lead to a message and itself, from ``{message: (parent, role, text)}``; no empty ones.

    ``worked`` are the parts of the answers that were more than text, and ``attached`` the files of messages, of which
    ``model`` gets those that it takes.
    """
    branch: list[ChatMessage] = []
    while message is not None and message in known:
        parent, role, text = known[message]
        if message in worked:
            branch.extend(reversed(transcript(worked[message])))
        elif text or message in attached:
            branch.append(user_turn(role, text, attached.get(message, ()), model))
        message = parent
    return branch[::-1]


def lease_end() -> Any:
    """Return the time until which an owner may be silent from now on, by the database's clock."""
    return Now() + timedelta(seconds=get_settings().lease)


def _answer_so_far(log: LogTransaction, generation: Generation) -> Answer:
    take_up(generation.pk)
    return Answer.from_rows(read_rows(log.conversation.pk, generation.first_seq - 1), generation.pk)


def _stored_events(log: LogTransaction, generation: Generation) -> int:
    here = sum(row.generation == generation.pk for row in log.rows)
    if log.rows and log.rows[0].seq <= generation.first_seq:
        return here
    earlier = owner_events(log.conversation.pk, generation.pk).filter(seq__gte=generation.first_seq)
    return earlier.count() + here
