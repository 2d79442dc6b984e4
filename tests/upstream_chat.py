"""Chat Completions, as the fake upstream speaks them."""

from __future__ import annotations

from typing import Any

from .upstream_wire import WORDS, Behaviour, Dialect


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Build a chunk of a stream; without ``delta`` it has no choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return {
        "id": "chatcmpl-upstream",
        "object": "chat.completion.chunk",
        "created": 1_750_000_000,
        "model": "fake",
        "choices": choices,
        "usage": None,
        **more,
    }


class Chat(Dialect):
    """``POST /v1/chat/completions``."""

    def begin(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        return [chunk({"role": "assistant", "content": ""})]

    def thought(self, text: str, behaviour: Behaviour) -> list[dict[str, Any]]:
        return [chunk({behaviour.text("reasoning"): text})]

    def token(self, text: str, behaviour: Behaviour) -> list[dict[str, Any]]:
        return [chunk({"refusal" if behaviour.count("refusal") else "content": text})]

    def failure(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        error = {"message": WORDS, "code": behaviour.text("error", "server_error")}
        return [chunk({"content": ""}, "error", error=error) if behaviour.count("chunk") else {"error": error}]

    def end(self, tokens: int, behaviour: Behaviour) -> list[dict[str, Any] | str]:
        said: list[dict[str, Any] | str] = [chunk({}, behaviour.text("finish", "stop"))]
        if behaviour.count("usage", 1):
            said.append(chunk(usage=_usage(tokens, behaviour)))
        if behaviour.count("done", 1):
            said.append("[DONE]")
        return said

    def error(self, status: int, behaviour: Behaviour) -> dict[str, Any]:
        message = "Unknown parameter: 'stream_options'." if behaviour.name == "no_usage" else WORDS
        return {"error": {"message": message, "type": "fake", "code": behaviour.text("error") or None}}

    def whole(self) -> dict[str, Any]:
        return {"choices": [{"message": {"role": "assistant", "content": "whole"}}]}


def _usage(tokens: int, behaviour: Behaviour) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "prompt_tokens": 11,
        "completion_tokens": tokens,
        "total_tokens": 11 + tokens,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2 if behaviour.text("reasoning") else 0},
    }
    if cost := behaviour.text("cost"):
        figures["cost"] = float(cost)
    return figures
