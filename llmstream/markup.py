"""What models wrote as HTML, where the extra ``markdown`` is installed; elsewhere there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from .conf import import_setting

_NEEDED = ("latex2mathml", "linkify_it", "markdown_it", "nh3", "pygments")


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as HTML: that of each part by its index, and its formulas as ``{"source", "mathml"}``."""

    html: Mapping[str, str]
    formulas: Sequence[Mapping[str, Any]]


@cache
def is_installed() -> bool:
    """Whether the packages of the extra are there."""
    return all(map(find_spec, _NEEDED))


def rendered(messages: Sequence[Mapping[str, Any]]) -> dict[str, Kept]:
    """Return the settled answers among these message objects as HTML, by their ids. Reads and writes the database."""
    found: dict[str, Kept] = import_setting("llmstream.markdown.kept.rendered")(messages) if is_installed() else {}
    return found


async def arendered(messages: Sequence[Mapping[str, Any]]) -> dict[str, Kept]:
    """Return the same on an event loop, which it does not hold up."""
    if not is_installed():
        return {}
    found: dict[str, Kept] = await import_setting("llmstream.markdown.kept.arendered")(messages)
    return found
