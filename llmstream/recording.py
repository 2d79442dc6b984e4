"""Recordings: one generation's stored events with their timing, and the script that plays the same answer again.

A record is a JSON object: ``id`` and ``event`` are those of the wire, ``seq`` is the position, ``time`` the seconds
since the first record, ``created_at`` when the event was stored. Events that were stored together have the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from .events import GENERATION_START, MESSAGE_END, PART_KINDS, REASONING_DELTA, TEXT_DELTA, USAGE, EventId
from .exceptions import ProviderError, codes_of, message_of
from .log.rows import database_alias
from .models import Conversation, Event, Generation, Message

Record: TypeAlias = dict[str, Any]
_PER_QUERY = 1_000
_FIGURES = {
    "input": "input_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
    "cached": "cached_tokens",
    "cache_write": "cache_write_tokens",
}


def record(conversation: Conversation, generation: Generation) -> Iterator[Record]:
    """Yield what is stored of a generation, oldest first. Each step is a whole query: it may run in any thread."""
    events = Event.objects.using(database_alias()).filter(conversation=conversation).order_by("seq")
    if generation.end_seq is not None:
        events = events.filter(seq__lte=generation.end_seq)
    fields = "seq", "first_seq", "generation", "data", "created_at"
    seq, start, more = generation.first_seq - 1, None, True
    said: dict[int, int] = {}
    while more:
        rows = list(events.filter(seq__gt=seq).values_list(*fields)[:_PER_QUERY])
        more = len(rows) == _PER_QUERY
        for seq, first, owner, data, created_at in rows:
            if owner != generation.pk:
                continue
            start = start or created_at
            if data["type"] in PART_KINDS:
                data = _unsaid(data, first, said)
                said[seq] = len(data["delta"])
            else:
                said.clear()
            yield {
                "id": str(EventId(conversation.public_id, conversation.epoch, seq)),
                "seq": seq,
                "time": round((created_at - start).total_seconds(), 3),
                "created_at": created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "event": data,
            }


def _unsaid(event: Any, first: int | None, said: Mapping[int, int]) -> Any:
    """Return a delta without the text of those before it that compaction has joined with it between two queries."""
    known = sum(length for seq, length in said.items() if first is not None and seq >= first)
    return {**event, "delta": event["delta"][known:]} if known else event


def script_of(records: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return the script, as plain JSON data, by which ``ScriptedProvider`` gives the recorded answer at the same pace.

    It ends as the answer did. Where that says nothing of the model it falls silent after a stop and breaks off after an
    interruption; a recording without an end falls silent, too.
    """
    script: list[Any] = []
    last: float | None = None
    for item in records:
        event, time = item["event"], float(item["time"])
        if event["type"] == GENERATION_START:
            last = time
        steps = list(_steps(event))
        if steps and last is not None and time > last:
            script.append(round(time - last, 3))
        if steps:
            script += steps
            last = time
        if event["type"] == MESSAGE_END:
            return script
    return [*script, {"stall": True}]


def _steps(event: Mapping[str, Any]) -> Iterator[Any]:
    kind = event["type"]
    if kind == TEXT_DELTA:
        yield {"text": event["delta"]}
    elif kind == REASONING_DELTA:
        yield {"reasoning": event["delta"]}
    elif kind == USAGE and not event["estimated"]:
        figures: dict[str, Any] = {name: event[field] for field, name in _FIGURES.items()}
        yield {"usage": {**figures, "cost": event["cost"]}}
    elif kind == MESSAGE_END:
        yield _end(event)


def _end(event: Mapping[str, Any]) -> Any:
    status = event["status"]
    if status == Message.Status.COMPLETED:
        return {"finish": event["finish_reason"] or "stop"}
    if status == Message.Status.FAILED:
        code = (event.get("error") or {}).get("code", "")
        return {"error": code} if code in codes_of(ProviderError) else {"raise": message_of(code)}
    return {"stall": True} if status == Message.Status.STOPPED else {"cut": True}
