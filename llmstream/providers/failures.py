"""What went wrong upstream, as errors of ours: the service's own words stay out of them and out of the logs."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import openai

from ..exceptions import (
    ProviderContextExceeded,
    ProviderError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)

#: Codes and types in error objects that say more than the status, by OpenAI and by llama.cpp.
_CONTEXT_EXCEEDED = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_RATE_LIMITED = frozenset({"rate_limit_exceeded", "rate_limit_error", "insufficient_quota", "tokens", "requests"})
_UNAVAILABLE = frozenset({"server_error", "internal_error", "overloaded_error", "overloaded", "service_unavailable"})


def retry_after_ms(headers: Mapping[str, str]) -> int | None:
    """Return the wait that ``retry-after-ms`` or ``Retry-After`` (seconds or an HTTP date) asks for, if any."""
    try:
        if "retry-after-ms" in headers:
            return max(0, round(float(headers["retry-after-ms"])))
        value = headers.get("retry-after", "").strip()
        seconds = float(value) if value[:1].isdigit() else parsedate_to_datetime(value).timestamp() - time()
        return max(0, round(seconds * 1000))
    except (ValueError, OverflowError):
        return None


def failure(error: openai.OpenAIError) -> ProviderError:
    """Return our error for one that the openai package raised before the stream."""
    if isinstance(error, openai.APIStatusError):
        return _failure(error.status_code, _marks(error.body), retry_after_ms(error.response.headers))
    if isinstance(error, openai.APITimeoutError):
        return ProviderTimeout()
    if isinstance(error, openai.APIConnectionError):
        return ProviderUnavailable()
    return ProviderError()


def stream_failure(error: object) -> ProviderError:
    """Return our error for an ``error`` object inside a stream."""
    code = error.get("code") if isinstance(error, dict) else None
    status = int(code) if isinstance(code, int | str) and str(code).isdecimal() and len(str(code)) == 3 else 0
    return _failure(status, _marks(error), None)


def _marks(error: object) -> set[str]:
    """Return the words by which an error object says what it is."""
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    found: dict[str, Any] = error if isinstance(error, dict) else {}
    return {value for key in ("code", "type") if isinstance(value := found.get(key), str)}


def _failure(status: int, marks: set[str], wait: int | None) -> ProviderError:
    if marks & _CONTEXT_EXCEEDED:
        return ProviderContextExceeded()
    if status == 429 or (not status and marks & _RATE_LIMITED):
        return ProviderRateLimited(retry_after_ms=wait)
    if status >= 500 or status in {408, 409, 425} or (not status and marks & _UNAVAILABLE):
        return ProviderUnavailable(retry_after_ms=wait)
    return ProviderRejected() if status >= 400 else ProviderError()
