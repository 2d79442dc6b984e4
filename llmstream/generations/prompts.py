"""A prompt comes in: the message, its empty answer and the generation, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from django.contrib.auth.models import AnonymousUser
from django.utils import timezone

from ..attachments import ids_of, part_of, sent_with, to_send
from ..conf import get_settings
from ..events import MESSAGE_CREATED, EventId
from ..exceptions import (
    GenerationInProgress,
    GenerationNotRetryable,
    IdempotencyConflict,
    InvalidRequest,
    QueueFull,
    UnknownModel,
)
from ..log.rows import Batch, database_alias
from ..log.transaction import LogTransaction, locked
from ..models import ORIGIN_LENGTH, Attachment, Conversation, Generation, Message
from ..observers import origin
from ..permissions import Requester
from ..providers.base import ChatMessage
from ..quotas import account_of
from ..signals import message_created
from ..snapshot import generation_object, message_object
from ..statements import insert, is_busy, messages_until
from .admission import admit
from .claims import Claim, answers_with_tools, branch_to, claim, history, lease_end
from .endings import Ending, end
from .files import files_of, files_with, user_turn
from .queries import active_generations, after_commit, get_generation
from .recovery import take_back
from .transcript import length_of

Status = Generation.Status

#: The ``parent`` of a prompt that begins a conversation anew.
ROOT: Final = "root"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a person asks. ``busy`` overrides the site's policy for a second prompt.

    It continues the branch on show, or answers ``parent`` (a message, or ``ROOT``), or stands in the place of the
    user's message that it ``edits``. ``attachments`` are the public ids of the author's, or for a visitor of those of
    ``anonymous_id``.
    """

    content: str
    client_id: str = ""
    author: Any = None
    model: str = ""
    busy: str = ""
    parent: str = ""
    edits: str = ""
    attachments: Sequence[str] = ()
    anonymous_id: str = ""


@dataclass(frozen=True, slots=True)
class Again:
    """How a prompt is answered again: by which model (the same when empty), and as in ``Prompt``."""

    client_id: str = ""
    model: str = ""
    busy: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome of a prompt: the user's message, its answer's generation, and the position before both.

    ``claim`` is there when the caller is to run the generation now; ``ready`` says that nothing is at work before it,
    ``repeated`` that the prompt had been sent before. ``tail`` are the events that it has brought.
    """

    conversation: Conversation
    message: Message
    answer: Message
    generation: Generation
    before: EventId
    claim: Claim | None = None
    ready: bool = False
    repeated: bool = False
    tail: Batch | None = None


def send(conversation: int, prompt: Prompt, *, run: bool = True) -> Sent:
    """Add a prompt and its generation; a repeated ``client_id`` returns the first outcome.

    Without ``run`` the generation is left queued for somebody else to claim, even when nothing is at work before it.

    Raises GenerationInProgress, QueueFull, UnknownModel, IdempotencyConflict, NoSuchAttachment, InvalidRequest or
    NotFound, and what ``admit`` raises.
    """
    with locked(conversation) as log:
        if prompt.client_id and (first := _first_outcome(log.conversation, prompt)):
            return first
        model = model_key(prompt.model or log.conversation.model)
        free = _make_room(log, prompt.busy or get_settings().busy)
        turns = _Turns(log.conversation, prompt)
        parent = turns.parent
        before = log.conversation.last_event_id
        rows = to_send(log.conversation, _sender(prompt), prompt.attachments, prompt.edits)
        question = _add_question(log, parent, prompt, rows)
        branch = [*turns.branch(model), _turn_of(question, rows, model)] if free and run else []
        sent = _answer(log, question, before, branch, model=model, attempt=1, run=free and run, ask=True)
        return replace(sent, ready=free)


def retry(generation: int, again: Again | None = None, *, run: bool = True) -> Sent:
    """Answer the same prompt once more when an answer has ended; the old one stays beside the new one.

    A repeated ``client_id`` returns the first outcome. ``run`` is as in ``send``. Raises GenerationNotRetryable and
    what ``send`` raises.
    """
    again = again or Again()
    with locked(get_generation(generation).conversation_id) as log:
        old = get_generation(generation)
        if (question := old.message.parent) is None:
            raise GenerationNotRetryable
        if again.client_id and (first := _first_answer(log.conversation, question, again)):
            return first
        if old.status in Generation.ACTIVE:
            raise GenerationNotRetryable
        model = model_key(again.model or _offered(old.model) or log.conversation.model)
        free = _make_room(log, again.busy or get_settings().busy)
        before = log.conversation.last_event_id
        branch = history(log.conversation, old, model)
        sent = _answer(
            log,
            question,
            before,
            branch,
            model=model,
            attempt=old.attempt + 1,
            run=free and run,
            ask=False,
            client_id=again.client_id,
        )
        return replace(sent, ready=free)


def _offered(model: str) -> str:
    """Return the key of a model, empty when the site does not offer it any more."""
    return model if get_settings().model(model) else ""


def model_key(asked: str) -> str:
    """Return the key of the model asked for, or of the default; raises UnknownModel."""
    if (found := get_settings().model(asked)) is None:
        raise UnknownModel
    return found[0]


def _first_outcome(conversation: Conversation, prompt: Prompt) -> Sent | None:
    message = (
        Message.objects.using(database_alias()).filter(conversation=conversation, client_id=prompt.client_id).first()
    )
    if message is None:
        return None
    same_author = message.author_id == getattr(prompt.author, "pk", None)
    same = message.text == prompt.content and ids_of(message.parts) == list(prompt.attachments)
    if message.role != Message.Role.USER or not same or not same_author:
        raise IdempotencyConflict
    return _repeated(conversation, message, message.replies.using(database_alias()).order_by("pk")[0], message)


def _first_answer(conversation: Conversation, question: Message, again: Again) -> Sent | None:
    answers = Message.objects.using(database_alias()).select_related("parent")
    answer = answers.filter(conversation=conversation, client_id=again.client_id).first()
    if answer is None:
        return None
    if answer.role != Message.Role.ASSISTANT or answer.parent_id != question.pk:
        raise IdempotencyConflict
    return _repeated(conversation, question, answer, answer)


def _repeated(conversation: Conversation, question: Message, answer: Message, first: Message) -> Sent:
    """Return an outcome once more; ``first`` is the message that it began with."""
    generation = answer.generations.using(database_alias()).order_by("pk")[0]
    before = EventId(conversation.public_id, conversation.epoch, first.first_seq - 1)
    return Sent(conversation, question, answer, generation, before, repeated=True)


def _make_room(log: LogTransaction, busy: str) -> bool:
    """Apply the policy for a second prompt; return whether the new generation may run now."""
    if not is_busy(log.conversation.pk):
        return True
    take_back(log)
    active = active_generations(log.conversation)
    if not active:
        return True
    if busy == "interrupt":
        for generation in active:
            end(log, generation, Ending(Status.STOPPED))
        return True
    if busy == "reject":
        raise GenerationInProgress(generation=generation_object(active[0], message=active[0].message.public_id))
    if sum(generation.status == Status.QUEUED for generation in active) >= get_settings().max_queued:
        raise QueueFull
    return False


class _Turns:
    """The messages at or before the one that a prompt answers, read once."""

    def __init__(self, conversation: Conversation, prompt: Prompt) -> None:
        self._conversation = conversation
        self._until = self._place(prompt)
        limit = get_settings().max_messages
        self._rows = messages_until(conversation.pk, self._until, limit) if self._until else []

    @property
    def parent(self) -> Message | None:
        """The message that the prompt answers; None for the first of a branch. Its other fields are deferred."""
        if not self._rows:
            return None
        return Message.from_db(database_alias(), ["id", "public_id"], self._rows[0][:2])

    def branch(self, model: str) -> list[ChatMessage]:
        """Return the turns that lead to the parent, and itself, for a model."""
        if not self._rows:
            return []
        worked = answers_with_tools(self._conversation, model, self._until)
        attached = files_of(self._conversation, self._until)
        return branch_to(self._rows[0].pk, {pk: turn for pk, _, *turn in self._rows}, worked, attached, model)

    def _place(self, prompt: Prompt) -> int:
        """Return the position of the parent, or one behind it; 0 when there is to be none."""
        if prompt.parent and prompt.edits:
            raise InvalidRequest("Give parent or edits, not both.")
        if prompt.edits:
            role, parent = self._find(prompt.edits, "role", "parent__first_seq")
            if role != Message.Role.USER:
                raise InvalidRequest("Only a user's message can be edited.")
            return parent or 0
        if prompt.parent == ROOT:
            return 0
        if prompt.parent:
            return int(self._find(prompt.parent, "first_seq")[0])
        return self._conversation.leaf or self._conversation.head

    def _find(self, message: str, *fields: str) -> tuple[Any, ...]:
        found = Message.objects.using(database_alias()).filter(conversation=self._conversation, public_id=message)
        row: tuple[Any, ...] | None = found.values_list(*fields).first()
        if row is None:
            raise InvalidRequest("There is no such message in this conversation.")
        return row


def _sender(prompt: Prompt) -> Requester:
    return Requester(prompt.author or AnonymousUser(), prompt.anonymous_id)


def _turn_of(question: Message, rows: Sequence[Attachment], model: str) -> ChatMessage:
    return user_turn(question.role, question.text, files_with(question, rows), model)


def _add_question(log: LogTransaction, parent: Message | None, prompt: Prompt, rows: Sequence[Attachment]) -> Message:
    text = [{"type": "text", "text": prompt.content}] if prompt.content or not rows else []
    question = Message(
        conversation=log.conversation,
        parent=parent,
        role=Message.Role.USER,
        parts=[*text, *map(part_of, rows)],
        text=prompt.content,
        author=prompt.author,
        client_id=prompt.client_id,
        first_seq=log.next_seq,
        end_seq=log.next_seq,
    )
    insert(question)
    sent_with(question, rows)
    return question


def _answer(
    log: LogTransaction,
    question: Message,
    before: EventId,
    branch: list[ChatMessage],
    *,
    model: str,
    attempt: int,
    run: bool,
    ask: bool,
    client_id: str = "",
) -> Sent:
    """Add the empty answer and its generation, ours and running at once with ``run``; announce the question too.

    Its branch is on show from now on.
    """
    grant = admit(log.conversation, model, length_of(branch) or len(question.text))
    answer = Message(
        conversation=log.conversation,
        parent=question,
        role=Message.Role.ASSISTANT,
        status=Message.Status.RUNNING,
        client_id=client_id,
        first_seq=log.next_seq + ask,
    )
    insert(answer)
    log.conversation.leaf = answer.first_seq
    generation = Generation(
        conversation=log.conversation,
        message=answer,
        model=model,
        attempt=attempt,
        first_seq=log.next_seq,
        account=account_of(log.conversation),
        reserved_tokens=grant.tokens,
        reserved_cost=grant.cost,
        origin=origin()[:ORIGIN_LENGTH],
    )
    if run:
        generation.status, generation.fence = Status.RUNNING, 1
        generation.started_at, generation.lease_expires_at = timezone.now(), lease_end()
    insert(generation)
    for message in [question, answer] if ask else [answer]:
        _announce(log, message, generation)
    claimed = claim(log, generation, branch, grant=grant) if run else None
    tail = Batch(log.conversation.pk, log.conversation.epoch, log.rows)
    return Sent(log.conversation, question, answer, generation, before, claimed, tail=tail)


def _announce(log: LogTransaction, message: Message, generation: Generation) -> None:
    parent = message.parent.public_id if message.parent else None
    owner = generation.public_id if message.role == Message.Role.ASSISTANT else None
    body = message_object(message, parent=parent, generation=owner)
    event = {"type": MESSAGE_CREATED, "message": body, "generation": generation.public_id}
    log.append(event, generation.pk)
    after_commit(message_created, Message, message=message)
