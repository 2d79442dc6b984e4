"""OpenAI's Responses, in the foreground and in the background, as the fake upstream speaks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from .upstream_wire import WORDS, Behaviour, Dialect, Piece, named_event

ITEM = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
THOUGHT = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}


def lifecycle(kind: str, status: str = "in_progress", identity: str = "resp_upstream", **more: Any) -> dict[str, Any]:
    """Build an event that carries the whole response."""
    response: dict[str, Any] = {
        "id": identity,
        "object": "response",
        "status": status,
        "model": "fake",
        "output": [],
        "usage": None,
    }
    return {"type": kind, "response": {**response, **more}}


def text_delta(delta: str) -> dict[str, Any]:
    """Build a piece of the answer."""
    return {"type": "response.output_text.delta", **ITEM, "delta": delta, "logprobs": []}


def call_item(identity: str, name: str, arguments: str, status: str = "completed") -> dict[str, Any]:
    """Build the output item of a function call; the item has an id of its own beside that of the call."""
    item = {"type": "function_call", "id": f"fc_{identity}", "status": status}
    return {**item, "call_id": identity, "name": name, "arguments": arguments}


def call_events(index: int, identity: str, name: str, pieces: Sequence[str]) -> list[dict[str, Any]]:
    """Build the events of a function call whose arguments come in pieces."""
    kind, place = "response.function_call_arguments", {"item_id": f"fc_{identity}", "output_index": index}
    added, done = call_item(identity, name, "", "in_progress"), call_item(identity, name, "".join(pieces))
    return [
        {"type": "response.output_item.added", "output_index": index, "item": added},
        *({"type": f"{kind}.delta", **place, "delta": piece} for piece in pieces),
        {"type": f"{kind}.done", **place, "arguments": "".join(pieces)},
        {"type": "response.output_item.done", "output_index": index, "item": done},
    ]


def figures(tokens: int, reasoning: int = 0) -> dict[str, Any]:
    """Return the usage of an answer."""
    return {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": 11 + tokens,
    }


class Responses(Dialect):
    """``POST /v1/responses``."""

    def __init__(self, identity: str = "resp_upstream") -> None:
        self._identity = identity

    def _lifecycle(self, kind: str, status: str = "in_progress", **more: Any) -> dict[str, Any]:
        return lifecycle(kind, status, self._identity, **more)

    def begin(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        said = [self._lifecycle("response.created"), self._lifecycle("response.in_progress")]
        if behaviour.text("reasoning") == "summary":
            part = {"type": "summary_text", "text": ""}
            said.append({"type": "response.reasoning_summary_part.added", **THOUGHT, "part": part})
        return said

    def thought(self, text: str, behaviour: Behaviour) -> list[dict[str, Any]]:
        kind = "reasoning_summary_text" if behaviour.text("reasoning") == "summary" else "reasoning_text"
        return [{"type": f"response.{kind}.delta", **THOUGHT, "delta": text}]

    def token(self, text: str, behaviour: Behaviour) -> list[dict[str, Any]]:
        if behaviour.count("refusal"):
            return [{"type": "response.refusal.delta", **ITEM, "delta": text}]
        return [text_delta(text)]

    def failure(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        error = {"code": behaviour.text("error", "server_error"), "message": WORDS}
        if behaviour.count("event"):
            return [{"type": "error", "param": None, **error}]
        return [self._lifecycle("response.failed", "failed", error=error)]

    def end(self, tokens: int, behaviour: Behaviour) -> list[dict[str, Any] | str]:
        usage = figures(tokens, 2 if behaviour.text("reasoning") else 0)
        if reason := behaviour.text("finish"):
            details = {"reason": reason}
            return [self._lifecycle("response.incomplete", "incomplete", incomplete_details=details, usage=usage)]
        return [self._lifecycle("response.completed", "completed", usage=usage)]

    def error(self, status: int, behaviour: Behaviour) -> dict[str, Any]:
        return {"error": {"message": WORDS, "type": "fake", "code": behaviour.text("error") or None}}

    def frame(self, data: dict[str, Any] | str, newline: str = "\n") -> bytes:
        return named_event(data, newline)


@dataclass(slots=True)
class Background:
    """A response that goes on by itself: its events, each with the time from the start at which it is there."""

    identity: str
    behaviour: Behaviour
    events: list[tuple[float, Piece]]
    started: float = field(default_factory=monotonic)
    cancelled: float | None = None
    #: Whether its events are kept no longer.
    expired: bool = False
    #: Connections that have read it.
    connections: int = 0

    @property
    def over(self) -> bool:
        """Whether nothing more will be generated."""
        return self.cancelled is not None or monotonic() >= self.started + self.events[-1][0]

    @property
    def generated(self) -> int:
        """Tokens generated so far."""
        until = self.cancelled or monotonic()
        return sum(piece.tokens for due, piece in self.events if self.started + due <= until)

    def state(self) -> dict[str, Any]:
        """Return the response object."""
        status = "cancelled" if self.cancelled else "completed" if self.over else "in_progress"
        state: dict[str, Any] = lifecycle("", status, self.identity)["response"]
        return state
