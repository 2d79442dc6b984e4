"""From our signals to notifications. Receivers only hand over ids; the sender's thread does the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import orjson
from django.db.models import Model
from django.dispatch import Signal
from django.utils import timezone

from ...models import Conversation, Generation, Message, ToolCall
from ...permissions import Requester, get_policy
from ...signals import (
    approval_decided,
    approval_requested,
    generation_finished,
    generation_recovered,
    generation_started,
    message_created,
    swept,
)
from .channels import OPERATIONS, conversation_channel, user_channel
from .missed import about_end, about_request, missed
from .sender import get_sender, send


def connect() -> None:
    """Send notifications from now on."""
    for signal, sender, receiver in _receivers():
        signal.connect(receiver, sender=sender, dispatch_uid=__name__)


def disconnect() -> None:
    """Send none from now on."""
    for signal, sender, _ in _receivers():
        signal.disconnect(sender=sender, dispatch_uid=__name__)


def _receivers() -> Iterator[tuple[Signal, type[Model] | None, Callable[..., None]]]:
    yield message_created, Message, _on_message
    yield generation_started, Generation, _on_start
    yield generation_recovered, Generation, _on_recovery
    yield generation_finished, Generation, _on_end
    yield approval_requested, ToolCall, _on_request
    yield approval_decided, ToolCall, _on_decision
    yield swept, None, _on_sweep


def _on_message(*, message: Message, **_: Any) -> None:
    get_sender().submit(partial(_tell_message, message.pk))


def _on_start(*, generation: Generation, **_: Any) -> None:
    get_sender().submit(partial(_tell_generation, "generation-started", generation.pk, "running"))


def _on_recovery(*, generation: Generation, **_: Any) -> None:
    get_sender().submit(partial(_tell_generation, "generation-recovered", generation.pk, "queued"))


def _on_end(*, generation: Generation, **_: Any) -> None:
    get_sender().submit(partial(_tell_end, generation.pk, generation.status, generation.error_code))


def _on_request(*, tool_call: ToolCall, **_: Any) -> None:
    get_sender().submit(partial(_tell_request, tool_call))


def _on_decision(*, tool_call: ToolCall, **_: Any) -> None:
    decided = {"call": tool_call.call, "tool": tool_call.tool, "decision": tool_call.status}
    get_sender().submit(partial(_tell_generation, "approval-decided", tool_call.generation_id, None, **decided))


def _on_sweep(**_: Any) -> None:
    get_sender().submit_at_times(_tell_missed)


def _tell_missed() -> None:
    """Tell what a process did not, that has died between a commit and its notification."""
    ends, requests = missed()
    for pk, status, code in ends:
        _tell_end(pk, status, code)
    for tool_call in requests:
        _tell_request(tool_call)


def _tell_end(pk: int, status: str, code: str) -> None:
    failed = status in Generation.TROUBLED
    kind = "generation-failed" if failed else "generation-finished"
    _tell_generation(kind, pk, status, about_end(pk), **({"error": code} if failed else {}))


def _tell_request(tool_call: ToolCall) -> None:
    asked = {"call": tool_call.call, "tool": tool_call.tool}
    _tell_generation("approval-wanted", tool_call.generation_id, "waiting", about_request(tool_call.pk), **asked)


def _tell_message(pk: int) -> None:
    if (message := Message.objects.select_related("conversation").filter(pk=pk).first()) is None:
        return
    data: dict[str, Any] = {"message": message.public_id, "role": message.role}
    if message.role == Message.Role.ASSISTANT and (found := message.generations.order_by("pk").last()):
        # As of its creation: how it goes on is told by what follows.
        status = "running" if found.started_at and found.started_at <= found.created_at else "queued"
        data |= {"generation": found.public_id, "model": found.model, "status": status}
    _notify("message-created", message.conversation, data)


def _tell_generation(kind: str, pk: int, status: str | None, about: str = "", **more: str) -> None:
    generations = Generation.objects.select_related("conversation", "message")
    if generation := generations.filter(pk=pk).first():
        ids = {"message": generation.message.public_id, "generation": generation.public_id, "model": generation.model}
        _notify(kind, generation.conversation, {**ids, "status": status or generation.status, **more}, about)


def _notify(kind: str, conversation: Conversation, data: dict[str, Any], about: str = "") -> None:
    at = timezone.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = orjson.dumps({"conversation": conversation.public_id, **data, "at": at}).decode()
    channels = [*_user_channels(conversation), conversation_channel(conversation.public_id), OPERATIONS]
    send(channels, kind, text, about)


def _user_channels(conversation: Conversation) -> list[str]:
    policy = get_policy()
    asked = {Requester(user): [conversation.pk] for user in policy.audience(conversation) if user.is_active}
    return [user_channel(requester.user) for requester, pks in policy.readable(asked).items() if pks]
