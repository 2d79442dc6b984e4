"""What a client may ask for, whatever transport it asks over: permission, validation, the deed, and its outcome.

Each function is a synchronous unit of ORM work. Conversations and generations are named by their public ids; those that
the requester may not see raise NotFound.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from . import branches
from .branches import Chosen
from .conf import BUSY_POLICIES, get_settings
from .engine import Engine
from .events import PUBLIC_ID_LENGTH
from .exceptions import InvalidRequest
from .fields import Fields
from .generations import approvals, endings, prompts, steering
from .generations.prompts import Again, Prompt, Sent
from .generations.steering import Steered
from .lookup import find_conversation, find_generation
from .models import Generation
from .permissions import Requester, get_policy
from .snapshot import generation_object, message_object

#: What can become of a tool call that waits for a person.
DECISIONS = (approvals.APPROVE, approvals.DENY)

_CLIENT_ID_LENGTH = 128


def send(requester: Requester, engine: Engine, conversation: str, fields: Fields, *, client_id: str = "") -> Sent:
    """Add a message and have its answer begin on ``engine``.

    ``fields`` are content, attachments, client_id, model, busy, and parent or edits; ``client_id`` stands in for a
    missing one. Raises what ``prompts.send`` raises.
    """
    found = find_conversation(requester, conversation)
    get_policy().check_write(requester, found)
    return begin(engine, partial(prompts.send, found.pk, _prompt(requester, fields, client_id)))


def stop(requester: Requester, generation: str) -> Generation:
    """End a generation as stopped; one that has ended stays as it is."""
    return endings.stop(_writable(requester, generation).pk)


def retry(requester: Requester, engine: Engine, generation: str, fields: Fields, *, client_id: str = "") -> Sent:
    """Answer the same prompt again; ``fields`` are client_id, model and busy, and ``client_id`` is as in ``send``."""
    again = Again(
        client_id=_client_id(fields, client_id),
        model=fields.text("model", limit=100),
        busy=fields.text("busy", limit=20, choices=BUSY_POLICIES),
    )
    return begin(engine, partial(prompts.retry, _writable(requester, generation).pk, again))


def choose(requester: Requester, conversation: str, fields: Fields) -> Chosen:
    """Show the branch that the message ``leaf`` is on, to everybody in the conversation."""
    found = find_conversation(requester, conversation)
    get_policy().check_write(requester, found)
    return branches.choose(found.pk, fields.text("leaf", limit=PUBLIC_ID_LENGTH))


def steer(requester: Requester, generation: str, fields: Fields, *, client_id: str = "") -> Steered:
    """Hand a message to a generation at work, which takes it up at its next model call.

    ``fields`` are content and client_id, for which ``client_id`` stands in. Raises GenerationNotSteerable when it has
    not begun or has ended, TooManySteers, and IdempotencyConflict.
    """
    content, client_id = _content(fields), _client_id(fields, client_id)
    return steering.steer(_writable(requester, generation).pk, content, requester.user_or_none, client_id)


def decide(requester: Requester, generation: str, call: str, decision: str) -> Generation:
    """``approve`` or ``deny`` a tool call that waits for it; the generation goes on once nothing waits any more.

    Raises NoSuchToolCall, and ToolCallDecided when somebody else has decided otherwise.
    """
    found = find_generation(requester, generation)
    get_policy().check_decide(requester, found.conversation)
    if decision not in DECISIONS:
        raise InvalidRequest(f"decision must be one of: {', '.join(DECISIONS)}.")
    return approvals.decide(found.pk, call, decision, requester.user_or_none)


def sent_object(sent: Sent) -> dict[str, Any]:
    """Return what clients see of a prompt's outcome. May read the database."""
    parent = sent.message.parent
    return {
        "message": message_object(sent.message, parent=parent.public_id if parent else None, generation=None),
        "generation": generation_object(sent.generation, message=sent.answer.public_id),
        "last_event_id": str(sent.before),
    }


def generation_result(outcome: Generation | Steered) -> dict[str, Any]:
    """Return what clients see of a command's outcome on a generation."""
    generation, steer = outcome if isinstance(outcome, Steered) else (outcome, "")
    found = {"generation": generation_object(generation, message=generation.message.public_id)}
    return {**found, "steer": steer} if steer else found


def choice_object(chosen: Chosen) -> dict[str, str]:
    """Return what clients see of the branch that is on show."""
    return {"leaf": chosen.leaf, "last_event_id": str(chosen.last_event_id)}


def begin(engine: Engine, ask: Callable[..., Sent]) -> Sent:
    """Have a new generation run. Called where it is committed: a client that hangs up now must not orphan it."""
    claimed = False
    place = engine.turns.reserve()
    try:
        sent = ask(run=place)
        claimed = sent.claim is not None
    finally:
        if place and not claimed:
            engine.turns.release()
    if sent.claim:
        engine.loop.call_soon_threadsafe(engine.start_reserved, sent.claim)
    elif not sent.repeated:
        engine.loop.call_soon_threadsafe(partial(engine.await_turn, sent.conversation.pk, ready=sent.ready))
    return sent


def _writable(requester: Requester, public_id: str) -> Generation:
    generation = find_generation(requester, public_id)
    get_policy().check_write(requester, generation.conversation)
    return generation


def _content(fields: Fields, *, needed: bool = True) -> str:
    content = fields.text("content", limit=get_settings().max_prompt_chars)
    if needed and not content.strip():
        raise InvalidRequest("content must not be empty.")
    return content


def _client_id(fields: Fields, instead: str) -> str:
    client_id = fields.text("client_id", limit=_CLIENT_ID_LENGTH) or instead
    if len(client_id) > _CLIENT_ID_LENGTH or "\0" in client_id:
        raise InvalidRequest(f"A client id may have at most {_CLIENT_ID_LENGTH} characters.")
    return client_id


def _prompt(requester: Requester, fields: Fields, client_id: str) -> Prompt:
    attachments = fields.texts("attachments", most=get_settings().max_attachments)
    return Prompt(
        content=_content(fields, needed=not attachments),
        client_id=_client_id(fields, client_id),
        author=requester.user_or_none,
        model=fields.text("model", limit=100),
        busy=fields.text("busy", limit=20, choices=BUSY_POLICIES),
        parent=fields.text("parent", limit=PUBLIC_ID_LENGTH),
        edits=fields.text("edits", limit=PUBLIC_ID_LENGTH),
        attachments=attachments,
        anonymous_id=requester.anonymous_id,
    )
