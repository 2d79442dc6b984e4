"""What goes wrong at a model's service; import these from ``llmstream.exceptions``."""

from __future__ import annotations

from .base_error import LLMStreamError


class ProviderError(LLMStreamError):
    """The model's service failed."""

    code = "provider_error"
    status = 502


class ProviderTimeout(ProviderError):
    """The model's service fell silent."""

    code = "provider_timeout"
    status = 504
    temporary = True


class ProviderRateLimited(ProviderError):
    """The model's service asks to wait."""

    code = "provider_rate_limited"
    status = 429
    temporary = True


class ProviderRejected(ProviderError):
    """The model's service refused the request."""

    code = "provider_rejected"


class ProviderContextExceeded(ProviderRejected):
    """The conversation is too long for the model."""

    code = "provider_context_exceeded"


class ProviderUnavailable(ProviderError):
    """The model's service cannot be reached or is failing."""

    code = "provider_unavailable"
    status = 503
    temporary = True


class ProviderTruncated(ProviderError):
    """The model's service ended the answer without finishing it."""

    code = "provider_truncated"
    temporary = True


class ProviderMalformed(ProviderError):
    """The model's service sent something that cannot be read."""

    code = "provider_malformed"
