"""What went wrong upstream, as errors of ours: the service's own words stay out of them and out of the logs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

from ..exceptions import (
    ProviderContextExceeded,
    ProviderError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
)

#: Codes and types in error objects that say more than the status, by OpenAI, llama.cpp, Anthropic and Google.
_CONTEXT_EXCEEDED = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_RATE_LIMITED = frozenset({"rate_limit_exceeded", "rate_limit_error", "insufficient_quota", "tokens", "requests"})
_UNAVAILABLE = frozenset(
    {
        *("server_error", "internal_error", "overloaded_error", "overloaded", "service_unavailable"),
        *("api_error", "timeout_error", "vector_store_timeout"),
    }
)
_REJECTED = frozenset(
    {
        *("invalid_request_error", "authentication_error", "permission_error", "not_found_error", "billing_error"),
        *("request_too_large", "invalid_prompt", "data_residency_mismatch", "bio_policy"),
        *("misalignment_policy_violation", "image_content_policy_violation"),
    }
)
#: How Anthropic, Google and vLLM, which have no code for it, say that a conversation has become too long.
_TOO_LONG = re.compile(
    r"prompt is too long|exceed context limit|input token count.{0,40} exceeds|maximum context length", re.IGNORECASE
)


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


def status_failure(status: int, body: object, wait: int | None) -> ProviderError:
    """Return our error for a response with an error status, whose decoded body may hold an error object."""
    error = _inner(body)
    marks = _marks(error)
    if marks & _CONTEXT_EXCEEDED or (
        status in {0, 400, 413, 422} and _TOO_LONG.search(str(error.get("message", ""))[:1000])
    ):
        return ProviderContextExceeded()
    if status == 429 or (not status and marks & _RATE_LIMITED):
        return ProviderRateLimited(retry_after_ms=wait)
    if status >= 500 or status in {408, 409, 425} or (not status and marks & _UNAVAILABLE):
        return ProviderUnavailable(retry_after_ms=wait)
    return ProviderRejected() if status >= 400 or marks & _REJECTED else ProviderError()


def stream_failure(error: object) -> ProviderError:
    """Return our error for an ``error`` object inside a stream."""
    code = _inner(error).get("code")
    status = int(code) if isinstance(code, int | str) and str(code).isdecimal() and len(str(code)) == 3 else 0
    return status_failure(status, error, None)


def _inner(error: object) -> dict[str, Any]:
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    return error if isinstance(error, dict) else {}


def _marks(error: dict[str, Any]) -> set[str]:
    """Return the words by which an error object says what it is."""
    return {value for key in ("code", "type") if isinstance(value := error.get(key), str)}
