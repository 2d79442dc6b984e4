"""An answer's parts as turns of the history that a model is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson

from ..providers.base import ChatMessage, ToolCall
from ..toolbox.results import tool_text

_CHARS_PER_TOKEN = 4


def transcript(parts: Iterable[dict[str, Any]]) -> list[ChatMessage]:
    """Return the turns that led to ``parts``: what the model said and asked for, each result, each steering message."""
    turns: list[ChatMessage] = []
    for step in _steps(parts):
        if step[0]["type"] == "steer":
            turns.append(ChatMessage("user", step[0]["content"]))
            continue
        tools = [part for part in step if part["type"] == "tool"]
        text = "".join(part["text"] for part in step if part["type"] == "text")
        if text or tools:
            turns.append(ChatMessage("assistant", text, [_asked(part) for part in tools]))
        turns.extend(ChatMessage("tool", tool_text(part), tool_call_id=part["call"]) for part in tools)
    return turns


def continued(turns: Sequence[ChatMessage]) -> tuple[list[ChatMessage], bool]:
    """Return turns for a model that is to go on with its own text if that is the last, and whether they were cut.

    White space at the end is left out, which services refuse; then what comes must begin without any.
    """
    if not turns or turns[-1].role != "assistant" or turns[-1].tool_calls:
        return list(turns), False
    *before, last = turns
    begun = last.content.rstrip()
    return [*before, *([replace(last, content=begun)] if begun else [])], begun != last.content


def length_of(turns: Sequence[ChatMessage]) -> int:
    """Return the characters that turns take, their files counted as text of as many tokens."""
    return sum(
        len(turn.content)
        + sum(len(call.arguments) for call in turn.tool_calls)
        + sum(file.tokens * _CHARS_PER_TOKEN for file in turn.files)
        for turn in turns
    )


def _steps(parts: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the parts of each model call, and each steering message by itself."""
    step: list[dict[str, Any]] = []
    called: int | None = None
    for part in parts:
        kind = part["type"]
        # A call's tools follow its text; text after tools is the next call's.
        over = kind == "steer" or (kind == "text" and called) or (kind == "tool" and called not in (None, part["step"]))
        if over and step:
            yield step
            step, called = [], None
        if kind == "steer":
            yield [part]
        else:
            step.append(part)
            called = part["step"] if kind == "tool" else called
    if step:
        yield step


def _asked(part: dict[str, Any]) -> ToolCall:
    # What could not be read is kept as text, which no service takes back.
    given = part["input"] if isinstance(part["input"], dict) else {}
    return ToolCall(part["call"], part["tool"], orjson.dumps(given).decode())
