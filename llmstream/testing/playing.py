"""A site whose models say what a test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson
from django.conf import settings as django_settings
from django.test import override_settings

from .. import commands
from ..database import run_db
from ..engine import Engine, background_engine
from ..events import WireEvent
from ..fields import Fields
from ..log.reading import read_rows
from ..models import Conversation, Generation
from ..permissions import Requester
from ..providers.base import ProviderRequest
from .engines import PATIENCE

#: What plays a model: called with the request, yields its parts.
Player: TypeAlias = Callable[[ProviderRequest], AsyncGenerator[Any, None]]

_FUNCTION: Final = "llmstream.providers.function.FunctionProvider"
_SCRIPTED: Final = "llmstream.providers.scripted.ScriptedProvider"
#: Answers run in the process of the test, which hears of them by itself.
_ALONE: Final = {
    "BROKER": "llmstream.brokers.memory.MemoryBroker",
    "RUNNER": "llmstream.runners.local.LocalRunner",
}


def played_by(player: Player, **entry: Any) -> dict[str, Any]:
    """Return an entry of MODELS that an async generator function plays."""
    return {"PROVIDER": _FUNCTION, "OPTIONS": {"function": player}, **entry}


def scripted(*steps: Any, **entry: Any) -> dict[str, Any]:
    """Return an entry of MODELS that plays a script; its steps are those of ``llmstream.providers.script``."""
    return {**entry, "PROVIDER": _SCRIPTED, "OPTIONS": {"script": list(steps)}}


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that has ended: its text, how it ended, and its events as clients see them.

    ``conversation`` is the public id.
    """

    conversation: str
    text: str
    status: str
    finish_reason: str
    error_code: str
    events: tuple[WireEvent, ...]
    generation: Generation


class PlayedSite:
    """The site of a test: every model plays a script, answers run in this process."""

    def __init__(self, overrides: ExitStack) -> None:
        self._overrides = overrides
        self.says("Hello.")

    def says(self, *steps: Any) -> None:
        """Have every model say this from now on; steps are those of ``llmstream.providers.script``."""
        given: Mapping[str, Any] = django_settings.LLMSTREAM
        models = {key: scripted(*steps, **entry) for key, entry in given.get("MODELS", {}).items()}
        self.changes(MODELS=models or {"default": scripted(*steps)}, **_ALONE)

    def changes(self, **values: Any) -> None:
        """Change keys of the ``LLMSTREAM`` setting for the rest of the test."""
        changed = {**django_settings.LLMSTREAM, **values}
        self._overrides.enter_context(override_settings(LLMSTREAM=changed))

    def ask(self, content: str, user: Any = None, conversation: Conversation | None = None) -> Answered:
        """Send a prompt as a user, to a new conversation of theirs unless one is given; return the whole answer."""
        found = conversation or Conversation.objects.create(owner=user)
        self.send(background_engine(), content, user or found.owner, found)
        return self.answer(found)

    def send(self, engine: Engine, content: str, user: Any, conversation: Conversation) -> Generation:
        """Send a prompt as a user, to be answered by an engine; raises what a request would be refused with."""
        fields = Fields({"content": content})
        return commands.send(Requester(user), engine, conversation.public_id, fields).generation

    def answer(self, conversation: Conversation, patience: float = PATIENCE) -> Answered:
        """Return a conversation's newest answer once it has ended; raises TimeoutError when it does not."""
        deadline = time.monotonic() + patience
        while (found := _newest_ended(conversation)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.01)
        return _answered(found)

    async def aanswer(self, conversation: Conversation, patience: float = PATIENCE) -> Answered:
        """Do the same in an async test, whose event loop runs the answer."""
        async with asyncio.timeout(patience):
            while (found := await run_db(_newest_ended, conversation)) is None:
                await asyncio.sleep(0.01)
        return await run_db(_answered, found)


def _newest_ended(conversation: Conversation) -> Generation | None:
    generations = Generation.objects.filter(conversation=conversation).select_related("message", "conversation")
    found = generations.order_by("-pk").first()
    return None if found is None or found.status in Generation.ACTIVE else found


def _answered(found: Generation) -> Answered:
    rows = read_rows(found.conversation_id, 0)
    return Answered(
        conversation=found.conversation.public_id,
        text=found.message.text,
        status=found.status,
        finish_reason=found.finish_reason,
        error_code=found.error_code,
        events=tuple(map(orjson.loads, (row.data for row in rows if row.generation == found.pk))),
        generation=found,
    )
