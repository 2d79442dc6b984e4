"""What each method of each route takes and answers; how it is called and described is said by the routes themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from .. import exceptions as errors
from ..exceptions import LLMStreamError

Errors: TypeAlias = tuple[type[LLMStreamError], ...]

#: Query parameters of what is read from a position.
READING: Final = ("last_event_id", "after", "wait", "ready")
#: Request headers by which a repeat and a position are known.
KEY, POSITION = "Idempotency-Key", "Last-Event-ID"

#: What any request may meet.
ALWAYS: Final[Errors] = (
    errors.InvalidRequest,
    errors.NotAuthenticated,
    errors.PermissionDenied,
    errors.DatabaseUnavailable,
    errors.LLMStreamError,
)
#: What any request that changes something may meet.
CHANGING: Final[Errors] = (errors.CSRFFailed, errors.TooLarge, errors.UnsupportedMediaType)
#: What a prompt may meet, and an answer that is written anew.
_PROMPT: Final[Errors] = (
    errors.UnknownModel,
    errors.GenerationInProgress,
    errors.IdempotencyConflict,
    errors.QueueFull,
    errors.BudgetExceeded,
    errors.TooManyTokens,
    errors.TooManyPrompts,
    errors.TooManyGenerations,
    errors.StreamingUnavailable,
)
_READ: Final[Errors] = (errors.StreamingUnavailable, errors.TooManyStreams, errors.Overloaded)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route.

    ``body`` and ``answers`` name schemas; an answer of None has no body. ``streams`` says that the answer may be an
    event stream, ``file`` that it is a file, ``page`` that it is HTML. ``fails`` are errors beside those that every
    request may meet.
    """

    answers: Mapping[int, str | None]
    body: str = ""
    fails: Errors = ()
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    streams: bool = False
    file: bool = False
    page: bool = False


_EVENTS: Final = Operation({200: "Events"}, fails=_READ, query=READING, headers=(POSITION,), streams=True)

#: By name of the route and method; a test sees that none is missing.
OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("conversations", "GET"): Operation({200: "ConversationList"}, fails=(errors.NotFound,), query=("before",)),
    ("conversations", "POST"): Operation({201: "State"}, "NewConversation", (errors.UnknownModel,)),
    ("conversation", "GET"): Operation({200: "State"}),
    ("conversation", "PATCH"): Operation({200: "State"}, "ConversationChange", (errors.UnknownModel,)),
    ("conversation", "DELETE"): Operation({204: None}, fails=(errors.ConversationHeld,)),
    ("messages", "POST"): Operation(
        {201: "Sent"},
        "Prompt",
        (*_PROMPT, errors.NoSuchAttachment, errors.LimitExceeded),
        headers=(KEY,),
        streams=True,
    ),
    ("page", "GET"): Operation({200: None}, page=True),
    ("page", "POST"): Operation(
        {303: None},
        "PageForm",
        (
            *(error for error in _PROMPT if error is not errors.StreamingUnavailable),
            *(errors.GenerationNotRetryable, errors.NoSuchToolCall, errors.ToolCallDecided),
        ),
    ),
    ("formulas", "GET"): Operation({200: "FormulaList"}),
    ("attachments", "POST"): Operation({201: "Attachment"}, "Upload", (errors.LimitExceeded,)),
    ("attachment", "GET"): Operation({200: None, 304: None}, file=True),
    ("attachment", "DELETE"): Operation({204: None}, fails=(errors.AttachmentSent, errors.ConversationHeld)),
    ("feedback", "GET"): Operation({200: "FeedbackList"}),
    ("message-feedback", "POST"): Operation({200: "Feedback"}, "NewFeedback"),
    ("message-feedback", "DELETE"): Operation({204: None}),
    ("members", "GET"): Operation({200: "MemberList"}),
    ("members", "POST"): Operation({201: "Member"}, "NewMember", (errors.NoSuchUser,)),
    ("member", "PATCH"): Operation({200: "Member"}, "MemberChange"),
    ("member", "DELETE"): Operation({204: None}),
    ("conversation-events", "GET"): _EVENTS,
    ("generation-events", "GET"): Operation(
        {200: "Events", 204: None}, fails=_READ, query=READING, headers=(POSITION,), streams=True
    ),
    ("generation-stop", "POST"): Operation({200: "Stopped"}),
    ("generation-steer", "POST"): Operation(
        {200: "Steered"},
        "Steer",
        (errors.GenerationNotSteerable, errors.TooManySteers, errors.IdempotencyConflict),
        headers=(KEY,),
    ),
    ("generation-retry", "POST"): Operation(
        {201: "Sent"}, "Retry", (*_PROMPT, errors.GenerationNotRetryable), headers=(KEY,), streams=True
    ),
    ("tool-call", "POST"): Operation({200: "Stopped"}, "Decision", (errors.NoSuchToolCall, errors.ToolCallDecided)),
}
