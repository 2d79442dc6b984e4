"""What people think of answers: given, changed, withdrawn, and read by whom it is of. Synchronous ORM work."""

from __future__ import annotations

from typing import Any

from .exceptions import InvalidRequest
from .feedback import COMMENT_LENGTH, Feedback
from .fields import Fields
from .lookup import find_message
from .models import Conversation, Message
from .permissions import Requester, get_policy


def give(requester: Requester, message: str, fields: Fields) -> dict[str, Any]:
    """Store what the requester thinks of an answer, in the place of what was thought before; return it.

    Raises NotFound, PermissionDenied, or InvalidRequest for what is no answer and no rating.
    """
    found = _answer(requester, message)
    rating = fields.text("rating", limit=4, choices=tuple(Feedback.Rating.values))
    if not rating:
        raise InvalidRequest("rating must not be empty.")
    values = {"rating": rating, "comment": fields.text("comment", limit=COMMENT_LENGTH).strip()}
    row, _ = Feedback.objects.update_or_create(message=found, **_giver(requester), defaults=values)
    return feedback_object(row)


def withdraw(requester: Requester, message: str) -> None:
    """Remove what the requester thinks of an answer, if there is anything; raises like ``give``."""
    Feedback.objects.filter(message=_answer(requester, message), **_giver(requester)).delete()


def feedback_of(requester: Requester, conversation: Conversation) -> dict[str, dict[str, Any]]:
    """Return what the requester thinks of a conversation's messages, by their ids."""
    rows = Feedback.objects.filter(message__conversation=conversation, **_giver(requester))
    return {row.message.public_id: feedback_object(row) for row in rows.select_related("message")}


def with_feedback(state: dict[str, Any], requester: Requester, conversation: Conversation) -> dict[str, Any]:
    """Return a state for one person: with what that one thinks of each message."""
    given = feedback_of(requester, conversation)
    messages = [{**message, "feedback": given.get(message["id"])} for message in state["messages"]]
    return {**state, "messages": messages}


def feedback_object(row: Feedback) -> dict[str, Any]:
    """Return what the giver sees of it."""
    return {"rating": row.rating, "comment": row.comment}


def _answer(requester: Requester, public_id: str) -> Message:
    message = find_message(requester, public_id)
    get_policy().check_feedback(requester, message.conversation)
    if message.role != Message.Role.ASSISTANT:
        raise InvalidRequest("Only an answer can be rated.")
    return message


def _giver(requester: Requester) -> dict[str, Any]:
    # Never empty on both sides: policies let nobody in who is neither.
    return {"user": requester.user_or_none, "anonymous_id": requester.anonymous_id}
