"""Conversations as files, a few at a time: JSON Lines in OpenAI's message format, CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import orjson

from .log.rows import database_alias
from .models import Conversation, Feedback
from .transcript import Turn, chosen_branch, read_turns

_CONVERSATIONS_PER_QUERY = 50
_MESSAGES = 10_000
#: A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = ("conversation", "title", "message", "parent", "role", "status", "author", "created_at", "text", "feedback")


class Format(NamedTuple):
    """A kind of file: what it begins with, and how a conversation is written."""

    label: str
    extension: str
    content_type: str
    head: str
    write: Callable[[Conversation, Sequence[Turn]], str]


def export(conversations: Sequence[int], kind: Format) -> Iterator[str]:
    """Yield the file's text. Conversations deleted meanwhile are left out. Each step may run in any thread."""
    yield kind.head
    pks = iter(conversations)
    while batch := list(islice(pks, _CONVERSATIONS_PER_QUERY)):
        found = Conversation.objects.using(database_alias()).in_bulk(batch)
        for pk in batch:
            if pk in found:
                yield kind.write(found[pk], read_turns(found[pk], limit=_MESSAGES))


def _jsonl(conversation: Conversation, turns: Sequence[Turn]) -> str:
    branch = [
        {"role": turn.message.role, "content": turn.written}
        for turn in chosen_branch(conversation, turns)
        if turn.written
    ]
    ratings = [
        {"message": turn.message.public_id, "rating": row.rating, "comment": row.comment}
        for turn in turns
        for row in turn.message.feedback.all()
    ]
    told = {"feedback": ratings} if ratings else {}
    line = {"messages": branch, "metadata": {"conversation": conversation.public_id, **told}}
    return orjson.dumps(line).decode() + "\n" if branch else ""


def _csv(conversation: Conversation, turns: Sequence[Turn]) -> str:
    known = {turn.message.pk: turn.message.public_id for turn in turns}
    buffer = io.StringIO()
    write = csv.writer(buffer).writerow
    for turn in turns:
        message = turn.message
        cells = (
            *(conversation.public_id, conversation.title, message.public_id),
            known.get(message.parent_id, "") if message.parent_id else "",
            *(message.role, message.status, message.author or "", message.created_at.isoformat(), turn.written),
            "; ".join(_rated(row) for row in message.feedback.all()),
        )
        write([_cell(str(cell)) for cell in cells])
    return buffer.getvalue()


def _markdown(conversation: Conversation, turns: Sequence[Turn]) -> str:
    title = " ".join(str(conversation).split())
    sections = [f"# {title}\n"]
    for turn in chosen_branch(conversation, turns):
        name = turn.message.get_role_display().capitalize()
        state = "" if turn.message.status == turn.message.Status.COMPLETED else f", {turn.message.get_status_display()}"
        sections.append(f"## {name}, {turn.message.created_at:%Y-%m-%d %H:%M:%S}{state}\n\n{turn.written}\n")
        sections += [f"> {_rated(row)}\n" for row in turn.message.feedback.all()]
    return "\n".join(sections) + "\n"


def _rated(row: Feedback) -> str:
    return ": ".join(filter(None, (row.rating, " ".join(row.comment.split()))))


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


FORMATS: Final[Mapping[str, Format]] = {
    "jsonl": Format("JSON Lines (OpenAI messages)", "jsonl", "application/jsonl", "", _jsonl),
    "csv": Format("CSV", "csv", "text/csv; charset=utf-8", ",".join(_COLUMNS) + "\r\n", _csv),
    "markdown": Format("Markdown", "md", "text/markdown; charset=utf-8", "", _markdown),
}
