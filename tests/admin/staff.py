"""People who work in the admin, and what they find there."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from llmstream.admin.content import READ
from llmstream.generations.endings import Ending, end
from llmstream.generations.prompts import Sent
from llmstream.log.transaction import locked
from llmstream.models import Conversation, Generation, Message
from tests.support import ask, conversation, user

ADMIN = "/admin/llmstream/"
MODELS = ("conversation", "message", "generation", "event", "usagerecord")
VIEW = tuple(f"view_{name}" for name in MODELS)


def staff(*codenames: str, name: str = "staff") -> User:
    """Return a member of the staff with these permissions of the app."""
    member = user(name)
    member.is_staff = True
    member.save()
    found = Permission.objects.filter(content_type__app_label="llmstream", codename__in=codenames)
    assert found.count() == len(codenames)
    member.user_permissions.set(found)
    return member


def signed_in(*codenames: str) -> Client:
    """Return a client of such a member."""
    client = Client()
    client.force_login(staff(*codenames))
    return client


def superuser() -> Client:
    """Return a client of somebody who may do everything."""
    member = user("root")
    member.is_staff = member.is_superuser = True
    member.save()
    client = Client()
    client.force_login(member)
    return client


def answered(
    content: str = "Hi", text: str = "Hello there", *, status: str = "completed", owner: str = "ann", **fields: Any
) -> Sent:
    """Return a prompt in a new conversation and its answer, which has ended; ``fields`` are the conversation's."""
    sent = ask(conversation(owner=user(owner), **fields), content)
    say(sent.generation, text)
    return finish(sent, status)


def say(generation: Generation, *pieces: str, kind: str = "text") -> None:
    """Store deltas of a generation."""
    with locked(generation.conversation_id) as log:
        for piece in pieces:
            ids = {"message": generation.message.public_id, "generation": generation.public_id}
            log.append({"type": f"{kind}-delta", **ids, "part": 0, "delta": piece}, generation.pk)


def finish(sent: Sent, status: str = "completed") -> Sent:
    """End a generation."""
    code = "provider_timeout" if status == "failed" else ""
    with locked(sent.conversation.pk) as log:
        reason = "stop" if status == "completed" else ""
        end(log, sent.generation, Ending(status, finish_reason=reason, error_code=code))
    return sent


def lapse(generation: Generation) -> None:
    """Let a generation look as if its owner had died long ago."""
    Generation.objects.filter(pk=generation.pk).update(lease_expires_at="2020-01-01T00:00:00Z")


def readings(of: Conversation | None = None) -> list[str]:
    """Return what the record says was read, oldest first."""
    entries = LogEntry.objects.filter(action_flag=READ).order_by("pk")
    if of is not None:
        entries = entries.filter(object_id=str(of.pk))
    return [entry.change_message for entry in entries]


def body(response: Any) -> str:
    """Return the text of a response, streamed or not."""
    if response.streaming:
        return b"".join(response.streaming_content).decode()
    text: str = response.content.decode()
    return text


def texts(of: Conversation) -> list[str]:
    """Return the texts of a conversation's messages."""
    return list(Message.objects.filter(conversation=of).values_list("text", flat=True))
