"""The settings: what the system checks say, but for what is looked at more closely elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from django.core import checks

from .. import checks as system_checks
from .verdicts import Verdict, fault, ok, warning

#: Told by what was seen in ``database`` and ``layer``.
_TOLD_ELSEWHERE: Final = frozenset(f"llmstream.{name}" for name in ("W002", "W003", "W004", "E006", "W007", "W008"))
#: The setting cannot be read, or names what is not there: nothing that goes by it can be looked at.
_UNREADABLE: Final = frozenset({"llmstream.E001", "llmstream.E002"})


def system_messages() -> list[checks.CheckMessage]:
    """Run llmstream's system checks, the others only if the setting can be read."""
    found = system_checks.check_settings(None)
    return found if unreadable(found) else checks.run_checks(tags=["llmstream"])


def unreadable(messages: Sequence[checks.CheckMessage]) -> bool:
    """Whether the setting cannot be read, so that there is nothing to go by."""
    return any(message.id in _UNREADABLE for message in messages)


def check_settings(messages: Sequence[checks.CheckMessage]) -> Iterator[Verdict]:
    """Tell what the system checks say."""
    found = [message for message in messages if message.id not in _TOLD_ELSEWHERE]
    for message in found:
        tell = fault if message.level >= checks.ERROR else warning
        yield tell(
            f"settings {str(message.id).partition('.')[2]}", message.msg, message.hint or "See docs/settings.md."
        )
    if not found:
        yield ok("settings", "The system checks find nothing.")
