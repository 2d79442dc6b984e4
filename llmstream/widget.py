"""What the server-rendered transcript shows, made of the state that the page carries."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.utils.safestring import mark_safe

from .answer import is_waiting
from .attachments import FILE
from .branches import path_to
from .file_types import INLINE
from .markup import Kept
from .models import Generation, Message
from .texts import translated

_ENDINGS = {
    Message.Status.STOPPED: "Stopped.",
    Message.Status.FAILED: "The answer failed.",
    Message.Status.INTERRUPTED: "The answer was interrupted.",
    Message.Status.RUNNING: "An answer is being written.",
}


def messages_on_show(state: dict[str, Any], me: str, html: Mapping[str, Kept]) -> list[dict[str, Any]]:
    """Return the messages on the chosen branch as the template shows them.

    ``me`` is the reader's id, ``html`` what ``branch_of`` is as HTML, by the ids of messages.
    """
    generations = {generation["id"]: generation for generation in state["generations"]}
    versions: dict[str | None, list[str]] = defaultdict(list)
    for message in state["messages"]:
        versions[message["parent"]].append(message["id"])
    return [
        _shown(message, generations.get(message["generation"]), versions[message["parent"]], me)
        | {"parts": list(_parts(message, html.get(message["id"])))}
        for message in branch_of(state)
    ]


def branch_of(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the message objects on the chosen branch, the first one first."""
    known = {message["id"]: message for message in state["messages"]}
    return path_to(known.get(state["leaf"]), lambda message: known.get(message["parent"]))


def pending_calls(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the tool calls in these messages that wait for somebody's decision, with their ``generation``."""
    return [
        {**part, "generation": message["generation"]}
        for message in messages
        if message["status"] == Message.Status.RUNNING
        for part in message["parts"]
        if part["type"] == "tool" and is_waiting([part])
    ]


def _shown(
    message: dict[str, Any], generation: dict[str, Any] | None, versions: Sequence[str], me: str
) -> dict[str, Any]:
    author = message["author"]
    is_mine = message["role"] == Message.Role.USER and (author is None or author["id"] == me)
    is_answer = message["role"] == Message.Role.ASSISTANT
    name = translated("Assistant") if is_answer else (author or {}).get("name", message["role"])
    return {
        **message,
        "mine": "true" if is_mine else "false",
        "name": translated("You") if is_mine else name,
        "note": _note(message, generation),
        "notes": list(_notes(message, generation, versions)),
    }


def _notes(message: dict[str, Any], generation: dict[str, Any] | None, versions: Sequence[str]) -> Iterator[str]:
    if len(versions) > 1:
        place = versions.index(message["id"]) + 1
        yield translated("Version {place} of {count}").format(place=place, count=len(versions))
    if generation and generation["left_out"]:
        yield translated("Turns left out of the history: {turns}").format(turns=generation["left_out"])


def _note(message: dict[str, Any], generation: dict[str, Any] | None) -> str:
    if generation and generation["status"] == Generation.Status.QUEUED:
        return translated("Waiting for its turn")
    error = generation["error"] if generation else None
    return error["message"] if error else translated(_ENDINGS.get(message["status"], ""))


def _parts(message: dict[str, Any], kept: Kept | None) -> Iterator[dict[str, Any]]:
    for index, part in enumerate(message["parts"]):
        if part:
            html = kept.html.get(str(index)) if kept else None
            # The renderer lets nothing through that could do anything.
            yield _part(part) | {"html": mark_safe(html) if html else ""}  # noqa: S308


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "tool":
        output = part["error"]["message"] if part.get("error") else part.get("output", "")
        return {**part, "input": _readable(part["input"]), "output": _readable(output)}
    if part["type"] == FILE:
        return {**part, "inline": part["content_type"] in INLINE}
    return {**part, "data": _readable(part["data"])} if part["type"] == "data" else part


def _readable(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
