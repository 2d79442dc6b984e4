"""Answers, model calls and tools in the log, a record each, with ids and figures and nothing of what was said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..models import Generation
from ..observers import ModelCall, Observer, Subject, ToolUse
from ..signals import generation_finished, generation_recovered, generation_started

logger = logging.getLogger("llmstream.activity")


class Activity(Observer):
    """Logs at INFO, what went wrong at WARNING; the figures are attributes of the records, times in seconds."""

    def __init__(self) -> None:
        generation_started.connect(self._started, sender=Generation)
        generation_recovered.connect(self._recovered, sender=Generation)
        generation_finished.connect(self._finished, sender=Generation)

    @contextmanager
    def model_call(self, call: ModelCall) -> Iterator[None]:
        """Log it at its end."""
        yield
        figures: dict[str, Any] = {"seconds": round(call.seconds, 3), "finish_reason": call.finish_reason}
        if call.first is not None:
            figures["first_token"] = round(call.first, 3)
        if usage := call.usage:
            figures |= {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        _log("A model was called", call.error, {**_about(call.subject), **figures})

    @contextmanager
    def tool_call(self, use: ToolUse) -> Iterator[None]:
        """Log it at its end."""
        yield
        fields = {**_about(use.subject), "tool": use.name, "call": use.call, "seconds": round(use.seconds, 3)}
        _log("A tool was called", use.error, fields)

    def _started(self, *, generation: Generation, **_: Any) -> None:
        _log("A generation has started", "", _fields(generation))

    def _recovered(self, *, generation: Generation, **_: Any) -> None:
        _log("A generation has lost its process", "", _fields(generation))

    def _finished(self, *, generation: Generation, **_: Any) -> None:
        fields = {**_fields(generation), "status": generation.status, "finish_reason": generation.finish_reason}
        if generation.started_at and generation.ended_at:
            fields["seconds"] = round((generation.ended_at - generation.started_at).total_seconds(), 3)
        _log("A generation has ended", generation.error_code, fields)


def _about(subject: Subject) -> dict[str, Any]:
    return {"conversation": subject.conversation, "generation": subject.generation, "model": subject.model}


def _fields(generation: Generation) -> dict[str, Any]:
    return {
        "conversation": generation.conversation.public_id,
        "generation": generation.public_id,
        "model": generation.model,
    }


def _log(message: str, code: str, fields: dict[str, Any]) -> None:
    logger.log(logging.WARNING if code else logging.INFO, message, extra={**fields, "code": code})
