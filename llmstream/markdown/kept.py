"""Messages as HTML, made once and kept beside the message.

Reading and keeping are ORM work, rendering is not: who is on an event loop does each in threads of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from typing import Any, Final

from ..conf import get_settings
from ..database import run_db, write_transaction
from ..log.rows import database_alias
from ..markup import Kept
from ..models import Message, Rendering
from .renderer import render

#: Changes with what this package makes of a text.
_FORMAT: Final = "1"
_PACKAGES: Final = ("markdown-it-py", "linkify-it-py", "nh3", "Pygments", "latex2mathml")
#: Characters that are rendered for one page; older messages that were never looked at stay plain on it.
_MOST_NEW: Final = 500_000
_RENDERED: Final = ("text", "reasoning")


def rendered(messages: Sequence[Mapping[str, Any]]) -> dict[str, Kept]:
    """Return the settled answers among these message objects as HTML, by their ids. Reads and writes the database."""
    known, missing = _look_up(messages)
    fresh = _render(missing)
    _keep(fresh)
    return known | {message: kept for message, (_, kept) in fresh.items()}


async def arendered(messages: Sequence[Mapping[str, Any]]) -> dict[str, Kept]:
    """Return the same on an event loop, which it does not hold up."""
    known, missing = await run_db(_look_up, messages)
    if not missing:
        return known
    fresh = await asyncio.to_thread(_render, missing)
    await run_db(_keep, fresh)
    return known | {message: kept for message, (_, kept) in fresh.items()}


def _look_up(messages: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Kept], dict[str, tuple[str, dict[str, str]]]]:
    """Return what is kept, and the version and texts of what is not, the newest message first."""
    wanted = dict(_wanted(messages))
    rows = Rendering.objects.using(database_alias()).filter(message__public_id__in=wanted)
    kept = {
        row.message.public_id: Kept(row.html, row.formulas)
        for row in rows.select_related("message").only("message__public_id", "version", "html", "formulas")
        if row.version == wanted[row.message.public_id][0]
    }
    return kept, {message: wanted[message] for message in reversed(wanted) if message not in kept}


def _wanted(messages: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[str, dict[str, str]]]]:
    for message in messages:
        if message["role"] != Message.Role.ASSISTANT or message["status"] == Message.Status.RUNNING:
            continue
        if texts := _texts(message["parts"]):
            yield message["id"], (_version(texts), texts)


def _texts(parts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {str(index): part["text"] for index, part in enumerate(parts) if part and part["type"] in _RENDERED}


def _version(texts: Mapping[str, str]) -> str:
    made_of = (_FORMAT, _packages(), tuple(sorted(get_settings().image_origins)), tuple(texts.items()))
    return sha256(repr(made_of).encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _packages() -> tuple[str, ...]:
    return tuple(version(name) for name in _PACKAGES)


def _render(missing: Mapping[str, tuple[str, Mapping[str, str]]]) -> dict[str, tuple[str, Kept]]:
    origins = get_settings().image_origins
    left = _MOST_NEW
    fresh: dict[str, tuple[str, Kept]] = {}
    for message, (made_of, texts) in missing.items():
        left -= sum(map(len, texts.values()))
        if left < 0 and fresh:
            break
        results = {index: result for index, text in texts.items() if (result := render(text, origins))}
        found = {formula.source: formula for result in results.values() for formula in result.formulas}
        formulas = [{"source": formula.source, "mathml": formula.tree} for formula in found.values()]
        html = {index: result.html for index, result in results.items()}
        fresh[message] = made_of, Kept(html, formulas)
    return fresh


def _keep(fresh: Mapping[str, tuple[str, Kept]]) -> None:
    if not fresh:
        return
    alias = database_alias()
    with write_transaction(alias):
        # Under lock: of a message that was deleted or redacted meanwhile nothing may be kept.
        found = Message.objects.using(alias).filter(public_id__in=fresh).select_for_update()
        rows = [
            Rendering(message_id=pk, version=made_of, html=kept.html, formulas=list(kept.formulas))
            for pk, public_id, parts in found.values_list("pk", "public_id", "parts")
            for made_of, kept in (fresh[public_id],)
            if _version(_texts(parts)) == made_of
        ]
        Rendering.objects.using(alias).filter(pk__in=[row.pk for row in rows]).delete()
        Rendering.objects.using(alias).bulk_create(rows)
