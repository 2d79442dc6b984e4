"""The objects of the document: what is read, what is sent, and how long it may be on this site."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from .. import events
from ..conf import BUSY_POLICIES, get_settings
from ..events import EVENT_ID_MAX_LENGTH, PART_KINDS, PUBLIC_ID_PATTERN
from ..exceptions import LLMStreamError, ProviderError, ToolError, codes_of
from ..feedback import COMMENT_LENGTH, Feedback
from ..models import Generation, Membership, Message

Schema: TypeAlias = dict[str, Any]

#: Types of events that belong to one connection.
TRANSIENT: Final = (events.SNAPSHOT, events.RESET, events.READY, events.HEARTBEAT, events.ROTATE, events.ERROR)
#: What a failed answer or tool call carries.
FAILURES: Final = sorted({LLMStreamError.code, *codes_of(ProviderError), *codes_of(ToolError)})
_CLIENT_ID_LENGTH: Final = 128
_NAME_LENGTH: Final = 254

STRING: Final[Schema] = {"type": "string"}
_INTEGER: Final[Schema] = {"type": "integer", "minimum": 0}
_BOOLEAN: Final[Schema] = {"type": "boolean"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_RATING: Final[Schema] = {"type": "string", "enum": list(Feedback.Rating.values)}
PUBLIC_ID: Final[Schema] = {"type": "string", "pattern": f"^{PUBLIC_ID_PATTERN}$"}
_EVENT_ID: Final[Schema] = {"type": "string", "maxLength": EVENT_ID_MAX_LENGTH, "description": "Opaque."}


def ref(name: str) -> Schema:
    """Return a reference to one of the schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas() -> dict[str, Schema]:
    """Return every schema by name, with the limits of this site."""
    return {**_read(), **_sent(), "Error": _error(), "Failure": _failure()}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None, **more: Any) -> Schema:
    found: Schema = {"type": "object", "properties": {**required, **(optional or {})}, **more}
    return {**found, "required": list(required)} if required else found


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _text(limit: int, **more: Any) -> Schema:
    """Return the schema of a text; NUL, which no database takes, is refused and not worth a pattern."""
    return {"type": "string", "maxLength": limit, **more}


def _error() -> Schema:
    fields: dict[str, Schema] = {
        "code": {"type": "string", "description": "Stable."},
        "status": {"type": "integer"},
        "message": {"type": "string", "description": "For people; may change."},
        "temporary": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "retry_after_ms": {"type": ["integer", "null"]},
    }
    beside = {"generation": {**ref("Generation"), "description": "The answer at work, with generation_in_progress."}}
    return _object({"error": _object(fields)}, beside)


def _failure() -> Schema:
    return _object({"code": {"type": "string", "enum": FAILURES}, "message": STRING})


def _read() -> dict[str, Schema]:
    """What the site answers with."""
    status = {"type": "string", "enum": list(Generation.Status.values)}
    conversation: dict[str, Schema] = {
        "id": PUBLIC_ID,
        "title": STRING,
        "model": {"type": "string", "description": "Key of the model of further prompts; empty for the site's."},
        "created_at": _TIME,
        "updated_at": _TIME,
        "last_event_id": _EVENT_ID,
        "urls": _object(dict.fromkeys(("self", "messages", "events"), STRING)),
    }
    state = {
        **conversation,
        "messages": _list(ref("Message")),
        "generations": _list(ref("Generation")),
        "leaf": _or_null(PUBLIC_ID),
        "truncated": _BOOLEAN,
        "usage": ref("Usage"),
    }
    message = {
        "id": PUBLIC_ID,
        "role": {"type": "string", "enum": list(Message.Role.values)},
        "parts": _list(ref("Part")),
        "parent": _or_null(PUBLIC_ID),
        "author": _or_null(ref("User")),
        "status": {"type": "string", "enum": list(Message.Status.values)},
        "generation": _or_null(PUBLIC_ID),
        "created_at": _TIME,
    }
    generation = {
        "id": PUBLIC_ID,
        "message": PUBLIC_ID,
        "model": STRING,
        "status": status,
        "attempt": _INTEGER,
        "finish_reason": {"type": ["string", "null"]},
        "error": _or_null(ref("Failure")),
        "phase": _or_null(_object({"name": STRING, "detail": STRING})),
        "steers": _list({"type": "object"}),
        "left_out": _INTEGER,
    }
    counts = "calls", "input", "output", "reasoning", "cached", "cache_write", "estimated"
    figures = dict.fromkeys(counts, _INTEGER)
    attachment = {
        "type": {"const": "file"},
        "id": PUBLIC_ID,
        "name": STRING,
        "content_type": STRING,
        "size": _INTEGER,
        "url": STRING,
    }
    kinds = [*PART_KINDS.values(), "refusal", "tool", "data", "steer", "file"]
    sent = {
        "message": ref("Message"),
        "generation": ref("Generation"),
        "last_event_id": _EVENT_ID,
        "urls": _object(dict.fromkeys(("events", "stop", "retry"), STRING)),
    }
    event = {"type": {"type": "string", "enum": [*events.STORED, *TRANSIENT]}}
    return {
        "Conversation": _object(conversation),
        "ConversationList": _object(
            {"conversations": _list(ref("Conversation")), "next": {"type": ["string", "null"]}}
        ),
        "State": _object(state),
        "Message": _object(message, {"feedback": _or_null(ref("Feedback"))}),
        "Feedback": _object({"rating": _RATING, "comment": STRING}),
        "FeedbackList": _object({"feedback": {"type": "object", "additionalProperties": ref("Feedback")}}),
        "Part": _object({"type": {"type": "string", "enum": kinds}}, description="See docs/events.md."),
        "Attachment": _object(attachment),
        "FormulaList": _object({"formulas": _list(ref("Formula"))}),
        "Formula": _object(
            {"source": STRING, "mathml": {"type": "array", "description": "Name, attributes, children."}}
        ),
        "Generation": _object(generation),
        "User": _object({"id": STRING, "name": STRING}),
        "Member": _object({"user": ref("User"), "role": {"type": "string", "enum": list(Membership.Role.values)}}),
        "MemberList": _object({"members": _list(ref("Member"))}),
        "Usage": _object({**figures, "cost": STRING, "currency": STRING}),
        "Sent": _object(sent),
        "Stopped": _object({"generation": ref("Generation")}),
        "Steered": _object({"generation": ref("Generation"), "steer": PUBLIC_ID}),
        "Event": _object(event, {"id": _EVENT_ID}, description="Further fields by type: see docs/events.md."),
        "StreamedEvent": _object(
            {"data": {"type": "string", "contentMediaType": "application/json", "contentSchema": ref("Event")}},
            {"event": event["type"], "id": _EVENT_ID},
            description="One event of a stream; its type is its data's.",
        ),
        "Events": _object({"events": _list(ref("Event")), "last_event_id": _EVENT_ID, "more": _BOOLEAN}),
    }


def _sent() -> dict[str, Schema]:
    """What clients send. Members that are not known are passed over."""
    settings = get_settings()
    model = _text(100, description="Key of one of the site's models.")
    client_id = _text(_CLIENT_ID_LENGTH, description="A repeat with the same one returns the first result.")
    busy = {"type": "string", "enum": list(BUSY_POLICIES)}
    content = _text(settings.max_prompt_chars)
    title = _text(settings.max_title_chars)
    role = {"type": "string", "enum": list(Membership.Role.values)}
    attachments = {**_list(PUBLIC_ID), "maxItems": settings.max_attachments, "uniqueItems": True}
    parent = {"anyOf": [PUBLIC_ID, {"const": "root"}]}
    prompt = {"client_id": client_id, "model": model, "busy": busy}
    return {
        "NewConversation": _object({}, {"title": title, "model": model}),
        "ConversationChange": _object({}, {"title": title, "model": model, "leaf": PUBLIC_ID}),
        "NewFeedback": _object({"rating": _RATING}, {"comment": _text(COMMENT_LENGTH)}),
        "NewMember": _object({"user": _text(_NAME_LENGTH)}, {"role": role}),
        "MemberChange": _object({}, {"role": role}),
        "Prompt": _object(
            {},
            {"content": content, "attachments": attachments, "parent": parent, "edits": PUBLIC_ID, **prompt},
            anyOf=[{"required": ["content"]}, {"required": ["attachments"]}],
        ),
        "Retry": _object({}, prompt),
        "Steer": _object({"content": content}, {"client_id": client_id}),
        "Decision": _object({"decision": {"type": "string", "enum": ["approve", "deny"]}}),
        "PageForm": _object(
            {},
            {
                **{"content": content, "client_id": client_id, "model": model, "stop": PUBLIC_ID, "retry": PUBLIC_ID},
                **{
                    "generation": PUBLIC_ID,
                    "call": STRING,
                    "decision": {"type": "string", "enum": ["approve", "deny"]},
                },
            },
        ),
        "Upload": _object({"file": {"type": "string", "format": "binary"}}),
    }
