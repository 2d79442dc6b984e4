"""A conversation to read: its turns in order, with the other branches beside the one on show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.models import Prefetch

from .answer import Answer, plain_text
from .attachments import FILE
from .branches import on_show
from .log.reading import read_rows
from .log.rows import database_alias
from .models import Conversation, Feedback, Generation, Message

Parts = list[dict[str, Any]]


class Turn(NamedTuple):
    """A message and what is known of it; ``generation`` is the newest one, for an answer."""

    message: Message
    parts: Parts
    generation: Generation | None

    @property
    def text(self) -> str:
        """The plain text."""
        return plain_text(self.parts)

    @property
    def written(self) -> str:
        """The plain text, and the names of the files that are attached."""
        names = (f"[Attached file: {part['name']}]" for part in self.parts if part["type"] == FILE)
        return "\n\n".join(filter(None, (self.text, *names)))


@dataclass(frozen=True, slots=True)
class BranchStart:
    """What follows, up to the matching ``BranchEnd``, was left for another branch."""

    turns: int


@dataclass(frozen=True, slots=True)
class BranchEnd:
    """The branch ends here."""


Item = Turn | BranchStart | BranchEnd


def read_turns(conversation: Conversation, *, before: int | None = None, limit: int) -> list[Turn]:
    """Return the newest turns, or those before a ``first_seq``, oldest first; running ones with their text so far."""
    generations = Generation.objects.using(database_alias()).prefetch_related("usage_records").order_by("pk")
    feedback = Feedback.objects.using(database_alias()).select_related("user").order_by("pk")
    messages = Message.objects.using(database_alias()).filter(conversation=conversation)
    if before is not None:
        messages = messages.filter(first_seq__lt=before)
    found = messages.select_related("author").prefetch_related(
        Prefetch("generations", generations), Prefetch("feedback", feedback)
    )
    return [_turn(message) for message in reversed(found.order_by("-first_seq")[:limit])]


def current_parts(message: Message, generation: Generation | None) -> Parts:
    """Return the parts of a message; those of a running one as far as the log has them."""
    if message.end_seq is not None or generation is None:
        parts: Parts = message.parts
        return parts
    return Answer.from_rows(read_rows(message.conversation_id, message.first_seq), generation.pk).parts


def chosen_branch(conversation: Conversation, turns: Sequence[Turn]) -> list[Turn]:
    """Return those of the turns that are on the branch on show."""
    shown = on_show(conversation)
    return [turn for turn in turns if turn.message.pk in shown]


def with_branches(conversation: Conversation, turns: Sequence[Turn]) -> Iterator[Item]:
    """Yield the turns as a flat tree: the branch on show, and before each turn the others that began in its place.

    Flat, since a tree may be as deep as the conversation is long.
    """
    shown = on_show(conversation)
    known = {turn.message.pk for turn in turns}
    replies: Mapping[int | None, list[Turn]] = defaultdict(list)
    for turn in turns:
        parent = turn.message.parent_id
        replies[parent if parent in known else None].append(turn)
    newest = _newest(turns)
    order = {pk: (pk in shown, *found) for pk, found in newest.items()}
    # Each entry is a turn whose branch is to be written, or an end to be marked.
    pending: list[Turn | BranchStart | BranchEnd] = _in_order(replies[None], order)
    while pending:
        item = pending.pop()
        yield item
        if isinstance(item, Turn):
            pending += _in_order(replies[item.message.pk], order)


def _in_order(siblings: Sequence[Turn], order: Mapping[int, tuple[bool, int, int]]) -> list[Item]:
    """Return what is to be written for replies to one message, last first: the one that goes on is written last."""
    if not siblings:
        return []
    *left, going_on = sorted(siblings, key=lambda turn: order[turn.message.pk])
    items: list[Item] = [going_on]
    for turn in reversed(left):
        items += [BranchEnd(), turn, BranchStart(order[turn.message.pk][2])]
    return items


def _newest(turns: Sequence[Turn]) -> dict[int, tuple[int, int]]:
    """Return for each message the newest position of those under it, itself included, and how many there are."""
    newest: dict[int, tuple[int, int]] = {}
    for turn in reversed(turns):
        pk, parent = turn.message.pk, turn.message.parent_id
        seq, size = newest.get(pk, (0, 0))
        newest[pk] = seq, size = max(seq, turn.message.first_seq), size + 1
        if parent is not None:
            known_seq, known_size = newest.get(parent, (0, 0))
            newest[parent] = max(known_seq, seq), known_size + size
    return newest


def _turn(message: Message) -> Turn:
    generations: Iterable[Generation] = message.generations.all()
    generation = max(generations, key=lambda item: item.pk, default=None)
    return Turn(message, current_parts(message, generation), generation)
