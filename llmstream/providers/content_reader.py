"""The chunks of a Gemini answer as the google-genai package gives them."""

from __future__ import annotations

from typing import Final

import orjson
from google.genai import types

from ..exceptions import ProviderMalformed
from .base import Finish, Keepalive, ProviderPart, ReasoningDelta, RefusalDelta, ResponseStarted, ToolCall, Usage

_CONTENT_FILTER: Final = "content_filter"
#: Google's words for reasons that have a name in Chat Completions.
_REASONS: Final = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        [
            *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "ESCALATION", "MODEL_ARMOR"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
        ],
        _CONTENT_FILTER,
    ),
}


class ContentReader:
    """Turns the chunks of one answer into provider parts; ``finished`` is set by a finish reason."""

    __slots__ = ("_calls", "_parts", "_started", "_usage", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._calls: list[ToolCall] = []
        self._started = False
        self._usage: Usage | None = None
        self._parts: list[ProviderPart] = []

    def read(self, chunk: types.GenerateContentResponse) -> list[ProviderPart]:
        """Return the parts that a chunk holds, a ``Keepalive`` when there are none."""
        parts = self._parts = []
        if chunk.response_id and not self._started:
            self._started = True
            parts.append(ResponseStarted(chunk.response_id))
        if feedback := chunk.prompt_feedback:
            self._feedback(feedback)
        candidate = chunk.candidates[0] if chunk.candidates else None
        if candidate and candidate.content:
            for part in candidate.content.parts or ():
                self._part(part)
        # Each figure is a sum so far, so that of a stopped answer is known, too.
        if chunk.usage_metadata and (usage := _usage(chunk.usage_metadata)) != self._usage:
            self._usage = usage
            parts.append(usage)
        if candidate and candidate.finish_reason and not self.finished:
            self._finish(candidate.finish_reason.value)
        return parts or [Keepalive()]

    def _part(self, part: types.Part) -> None:
        if part.function_call:
            self._call(part.function_call)
        if part.text:
            self._parts.append(ReasoningDelta(part.text) if part.thought else part.text)

    def _call(self, call: types.FunctionCall) -> None:
        if not call.name or call.partial_args or call.will_continue:
            raise ProviderMalformed  # Calls come whole unless a call's parameters ask for pieces.
        self._calls.append(ToolCall(call.id or "", call.name, orjson.dumps(call.args or {}).decode()))

    def _feedback(self, feedback: types.GenerateContentResponsePromptFeedback) -> None:
        """Read why a prompt was not answered at all."""
        if feedback.block_reason and not self.finished:
            if feedback.block_reason_message:
                self._parts.append(RefusalDelta(feedback.block_reason_message))
            self.finished = True
            self._parts.append(Finish(_CONTENT_FILTER))

    def _finish(self, reason: str) -> None:
        self.finished = True
        word = _REASONS.get(reason, reason.lower())
        self._parts += [*self._calls, Finish("tool_calls" if word == "stop" and self._calls else word)]


def _usage(usage: types.GenerateContentResponseUsageMetadata) -> Usage:
    """Return the figures; Google counts thoughts apart from other output, and what tools brought from other input."""
    thoughts = usage.thoughts_token_count or 0
    return Usage(
        input_tokens=(usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        output_tokens=(usage.candidates_token_count or 0) + thoughts,
        reasoning_tokens=thoughts,
        cached_tokens=usage.cached_content_token_count or 0,
    )
