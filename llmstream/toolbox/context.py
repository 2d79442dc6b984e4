"""What a tool knows of the generation that runs it, and how it tells people what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any, Protocol

from ..events import DATA, PHASE, TOOL_PROGRESS
from ..exceptions import ToolError
from .results import checked_json


class Teller(Protocol):
    """What stores an event of a running generation."""

    def tell(self, kind: str, **fields: Any) -> None:
        """Store an event and show it."""


class _Told(Awaitable[None]):
    """Nothing to wait for: what was told is on its way."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


class ToolContext:
    """The run of a tool call: annotate a parameter of the tool with this class to get it.

    ``user_id`` is the key of the person whose prompt is being answered, None for a visitor; ``conversation_id`` and
    ``generation_id`` are public ids. The methods take effect at once: a tool that is no coroutine calls them without
    ``await``. What they are given must be JSON within the site's limits, or ToolError is raised. Once the call is over
    they do nothing.
    """

    def __init__(
        self,
        teller: Teller,
        *,
        call: str,
        user_id: Any,
        conversation_id: str,
        generation_id: str,
        max_events: int,
    ) -> None:
        self.call_id = call
        self.user_id = user_id
        self.conversation_id = conversation_id
        self.generation_id = generation_id
        self._teller = teller
        self._left = max_events
        self._over = False
        self._loop = asyncio.get_running_loop()

    def phase(self, name: str, detail: str = "") -> Awaitable[None]:
        """Say what is being done now."""
        return self._tell(PHASE, name=checked_json(str(name)), detail=checked_json(str(detail)))

    def data(self, name: str, data: Any) -> Awaitable[None]:
        """Add a part to the answer that is no text; ``name`` tells the page what it is."""
        return self._tell(DATA, name=checked_json(str(name)), data=checked_json(data))

    def progress(self, value: Any) -> Awaitable[None]:
        """Say how far the call is, in whatever JSON the page understands."""
        value = checked_json(value)
        return self._tell(TOOL_PROGRESS, call=self.call_id, progress=value) if self._left > 0 else _Told()

    def close(self) -> None:
        """The call is over."""
        self._over = True

    def _tell(self, kind: str, **fields: Any) -> Awaitable[None]:
        self._left -= 1
        if self._left < 0:
            raise ToolError("The tool has told too much.")
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._now(kind, fields)
        else:
            self._loop.call_soon_threadsafe(self._now, kind, fields)
        return _Told()

    def _now(self, kind: str, fields: dict[str, Any]) -> None:
        if not self._over:
            self._teller.tell(kind, **fields)
