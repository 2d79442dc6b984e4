"""The default: a generation is an asyncio task of the process that took its prompt in."""

from __future__ import annotations

from typing import ClassVar

from .base import Runner


class LocalRunner(Runner):
    """Runs generations where their prompts come in."""

    here: ClassVar[bool] = True

    def hand_off(self, conversation: int, *, again: bool = False) -> None:
        """Do nothing: whoever takes a prompt in runs it."""
