"""Google's generateContent, as the fake upstream speaks it.

Models' names are in the address there, so a behaviour is written ``answer;tokens=5;rate=100``.
"""

from __future__ import annotations

import re
from typing import Any

from .upstream_wire import WORDS, Behaviour, Dialect

_MODEL = re.compile(r"/models/(.+):streamGenerateContent")
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def model_of(path: str) -> str:
    """Return the behaviour that an address names, if it is one of this API."""
    found = _MODEL.search(path)
    return found[1].replace(";", "?", 1).replace(";", "&") if found else ""


def content(*parts: dict[str, Any], finish: str = "", **more: Any) -> dict[str, Any]:
    """Build a chunk of an answer."""
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "fake", "responseId": "gemini-upstream", **more}


class Gemini(Dialect):
    """``POST /v1beta/models/MODEL:streamGenerateContent?alt=sse``."""

    def begin(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        return [{"modelVersion": "fake", "responseId": "gemini-upstream"}]

    def thought(self, text: str, behaviour: Behaviour) -> list[dict[str, Any]]:
        return [content({"text": text, "thought": True})]

    def token(self, text: str, behaviour: Behaviour) -> list[dict[str, Any]]:
        return [content({"text": text})]

    def failure(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        return [self.error(behaviour.count("error", 503), behaviour)]

    def end(self, tokens: int, behaviour: Behaviour) -> list[dict[str, Any] | str]:
        thoughts = 2 if behaviour.text("reasoning") else 0
        usage = {
            "promptTokenCount": 11,
            "candidatesTokenCount": tokens,
            "cachedContentTokenCount": 4,
            "totalTokenCount": 11 + tokens + thoughts,
            **({"thoughtsTokenCount": thoughts} if thoughts else {}),
        }
        more = {"usageMetadata": usage} if behaviour.count("usage", 1) else {}
        return [content({"text": ""}, finish=behaviour.text("finish", "STOP"), **more)]

    def error(self, status: int, behaviour: Behaviour) -> dict[str, Any]:
        details = []
        if delay := behaviour.text("delay"):
            details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
        message = behaviour.text("message", WORDS)
        return {"error": {"code": status, "message": message, "status": _STATUSES.get(status), "details": details}}

    def whole(self) -> dict[str, Any]:
        return {"whole": True}
