"""The errors that callers can act on.

``LLMStreamError``
  ``InvalidRequest``, ``NotAuthenticated``, ``PermissionDenied``, ``NotFound``, ``TooLarge``, ``Overloaded``,
  ``StreamingUnavailable``, ``ConversationHeld``
  ``BudgetExceeded``, ``TooManyTokens``, ``TooManyPrompts``, ``TooManyGenerations``, ``TooManyStreams``
  ``GenerationInProgress``, ``GenerationNotRetryable``, ``GenerationNotSteerable``, ``ToolCallDecided``,
  ``AttachmentSent``
  ``ToolError``
    ``ToolTimeout``, ``ToolDenied``, ``ToolExpired``, ``ToolUnknown``, ``ToolInvalidInput``, ``ToolInterrupted``
  ``LeaseLost``, ``LimitReached``
  ``ProviderError``
    ``ProviderTimeout``, ``ProviderRateLimited``, ``ProviderRejected``, ``ProviderUnavailable``,
    ``ProviderTruncated``, ``ProviderMalformed``; ``ProviderContextExceeded`` is a ``ProviderRejected``

Every class carries what the wire envelope needs; the text a client sees is the class's own, never an exception's.
"""

from __future__ import annotations

from .base_error import LLMStreamError as LLMStreamError
from .base_error import codes_of as codes_of
from .base_error import message_of as message_of
from .base_error import messages as messages
from .provider_errors import ProviderContextExceeded as ProviderContextExceeded
from .provider_errors import ProviderError as ProviderError
from .provider_errors import ProviderMalformed as ProviderMalformed
from .provider_errors import ProviderRateLimited as ProviderRateLimited
from .provider_errors import ProviderRejected as ProviderRejected
from .provider_errors import ProviderTimeout as ProviderTimeout
from .provider_errors import ProviderTruncated as ProviderTruncated
from .provider_errors import ProviderUnavailable as ProviderUnavailable


class InvalidRequest(LLMStreamError):
    """The request is not valid."""

    code = "invalid_request"
    status = 400


class MalformedJSON(InvalidRequest):
    """The body is not a JSON object."""

    code = "malformed_json"


class UnknownModel(InvalidRequest):
    """There is no such model."""

    code = "unknown_model"


class NotAuthenticated(LLMStreamError):
    """Sign in first."""

    code = "not_authenticated"
    status = 401


class PermissionDenied(LLMStreamError):
    """You may not do this."""

    code = "permission_denied"
    status = 403


class CSRFFailed(PermissionDenied):
    """The CSRF token is missing or wrong."""

    code = "csrf_failed"


class NotFound(LLMStreamError):
    """There is no such thing, or it is not yours."""

    code = "not_found"
    status = 404


class MethodNotAllowed(LLMStreamError):
    """This address does not take that method."""

    code = "method_not_allowed"
    status = 405


class GenerationInProgress(LLMStreamError):
    """An answer is already being generated in this conversation."""

    code = "generation_in_progress"
    status = 409
    temporary = True


class GenerationNotRetryable(LLMStreamError):
    """Only a failed, stopped or interrupted answer can be retried."""

    code = "generation_not_retryable"
    status = 409


class GenerationNotSteerable(LLMStreamError):
    """This answer cannot be steered: it has not begun, or it has ended."""

    code = "generation_not_steerable"
    status = 409


class NoSuchUser(InvalidRequest):
    """There is no such user."""

    code = "no_such_user"


class NoSuchAttachment(InvalidRequest):
    """There is no such attachment of yours in this conversation, or it was sent before."""

    code = "no_such_attachment"


class AttachmentSent(LLMStreamError):
    """This attachment was sent; it stays with its message."""

    code = "attachment_sent"
    status = 409


class NoSuchToolCall(NotFound):
    """No such tool call needs a decision."""

    code = "no_such_tool_call"


class ToolCallDecided(LLMStreamError):
    """This tool call has been decided otherwise."""

    code = "tool_call_decided"
    status = 409


class ConversationHeld(LLMStreamError):
    """This conversation is under a legal hold: nothing of it may be deleted."""

    code = "conversation_held"
    status = 409


class IdempotencyConflict(LLMStreamError):
    """This idempotency key was used for another request."""

    code = "idempotency_conflict"
    status = 409


class TooLarge(LLMStreamError):
    """The request is too large."""

    code = "too_large"
    status = 413


class UnsupportedMediaType(LLMStreamError):
    """Send application/json."""

    code = "unsupported_media_type"
    status = 415


class QueueFull(LLMStreamError):
    """Too many prompts are waiting in this conversation."""

    code = "queue_full"
    status = 429
    temporary = True


class RateLimited(LLMStreamError):
    """Too many frames in a short time."""

    code = "rate_limited"
    status = 429
    temporary = True


class LimitExceeded(LLMStreamError):
    """You have as many of these open as one may have."""

    code = "limit_exceeded"
    status = 429


class TooManyStreams(LimitExceeded):
    """You have as many streams open as one may have."""

    code = "too_many_streams"
    temporary = True


class TooManyGenerations(LLMStreamError):
    """As many answers are being written for you as one may have at once."""

    code = "too_many_generations"
    status = 429
    temporary = True


class TooManyPrompts(LLMStreamError):
    """Too many prompts in a short time."""

    code = "too_many_prompts"
    status = 429
    temporary = True


class TooManyTokens(LLMStreamError):
    """Too many tokens in a short time."""

    code = "too_many_tokens"
    status = 429
    temporary = True


class BudgetExceeded(LLMStreamError):
    """What may be used in this time has been used."""

    code = "budget_exceeded"
    status = 402


class TooManySteers(LLMStreamError):
    """This answer has been steered often enough."""

    code = "too_many_steers"
    status = 429


class StreamingUnavailable(LLMStreamError):
    """This server runs under WSGI and cannot stream; poll the conversation instead."""

    code = "streaming_unavailable"
    status = 501


class Overloaded(LLMStreamError):
    """The server is busy; come back shortly."""

    code = "overloaded"
    status = 503
    temporary = True


class DatabaseUnavailable(LLMStreamError):
    """The database did not answer in time; nothing was changed."""

    code = "database_unavailable"
    status = 503
    temporary = True


class ToolError(LLMStreamError):
    """The tool failed."""

    code = "tool_failed"


class ToolTimeout(ToolError):
    """The tool took too long."""

    code = "tool_timeout"


class ToolDenied(ToolError):
    """The tool call was denied."""

    code = "tool_denied"


class ToolExpired(ToolError):
    """Nobody decided on the tool call in time."""

    code = "tool_expired"


class ToolUnknown(ToolError):
    """There is no such tool."""

    code = "tool_unknown"


class ToolInvalidInput(ToolError):
    """The tool's input is not valid."""

    code = "tool_invalid_input"


class ToolInterrupted(ToolError):
    """The tool was cut off, and it is not known whether it has done its work."""

    code = "tool_interrupted"


class LeaseLost(LLMStreamError):
    """Another process owns this generation now, or it has ended."""

    code = "lease_lost"
    status = 409


class LimitReached(LLMStreamError):
    """A generation has come to a limit and ends as stopped, with ``reason`` for its finish reason."""

    code = "limit_reached"

    def __init__(self, reason: str = "") -> None:
        super().__init__()
        self.reason = reason
