"""An answer as a page that grows: HTML that is only ever added to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from django.utils.html import escape
from django.utils.translation import pgettext

from ..events import DATA, ERROR, PART_KINDS, STEER_ACCEPTED, TOOL_APPROVAL_REQUEST, TOOL_CALL, WireEvent
from ..formats import WireFormat

#: Events as they are, for who makes HTML of them.
FORMAT: Final[WireFormat[list[WireEvent]]] = WireFormat(
    lambda row, event_id: orjson.loads(row.data), lambda conversation, event, event_id: event, list
)

_OPENING: Final = {
    "text": '<div class="llm-part llm-plain" dir="auto">',
    "reasoning": '<div class="llm-part llm-box llm-plain" dir="auto">',
}


class LiveAnswer:
    """The article of an answer at work. It begins with the parts that there are, and grows by events."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        self._message = message
        self._open: int | None = None
        #: Whether it waits for somebody's decision.
        self.waits = False

    def begin(self) -> str:
        """Return the article as it stands; what is open in it is closed by ``end``."""
        parts = [(index, part) for index, part in enumerate(self._message["parts"]) if part]
        return (
            f'<article class="llm-message llm-live" data-role="assistant" aria-label="{escape(self._message["name"])}">'
            f'<h2 class="llm-author"><bdi>{escape(self._message["name"])}</bdi></h2><div class="llm-body">'
            + "".join(self._part(index, part) for index, part in parts)
        )

    def apply(self, event: WireEvent) -> str:
        """Return what an event adds."""
        if kind := PART_KINDS.get(event["type"]):
            return self._grow(event["part"], kind, event["delta"])
        self.waits = event["type"] == TOOL_APPROVAL_REQUEST
        add = _ADDED.get(event["type"])
        return self._close() + add(event) if add else ""

    def end(self, note: str = "") -> str:
        """Return what closes the article, with a note below it."""
        return f"{self._close()}</div>{_noted(note)}</article>"

    def _part(self, index: int, part: Mapping[str, Any]) -> str:
        if part["type"] in _OPENING:
            return self._grow(index, part["type"], part["text"])
        add = _ADDED.get(_EVENT_OF.get(part["type"], ""))
        return self._close() + add(part) if add else ""

    def _grow(self, index: int, kind: str, text: str) -> str:
        if self._open == index:
            return escape(text)
        opening = self._close() + _OPENING[kind]
        self._open = index
        return opening + escape(text)

    def _close(self) -> str:
        closing = "" if self._open is None else "</div>"
        self._open = None
        return closing


def _noted(note: str) -> str:
    return f'<footer class="llm-footer"><span class="llm-state">{escape(note)}</span></footer>' if note else ""


def _box(label: str, value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return (
        f'<div class="llm-part llm-box"><p class="llm-label">{escape(label)}</p>'
        f'<pre class="llm-value" dir="auto">{escape(shown)}</pre></div>'
    )


_ADDED: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    TOOL_CALL: lambda found: _box(found["tool"], found["input"]),
    DATA: lambda found: _box(found["name"], found["data"]),
    STEER_ACCEPTED: lambda found: _box(pgettext("llm-chat", "Added"), found["content"]),
    ERROR: lambda found: _box(pgettext("llm-chat", "Error"), found["error"]["message"]),
}
#: The event that has added a part, by the part's type.
_EVENT_OF: Final = {"tool": TOOL_CALL, "data": DATA, "steer": STEER_ACCEPTED}
