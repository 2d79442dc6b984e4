"""The chat widget's texts in the language of the page. In the modules they are English, and called by that."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Final

from django.utils.translation import gettext, pgettext

from .exceptions import messages

#: What tells the widget's texts from those of other apps, in catalogs of translations.
CONTEXT: Final = "llm-chat"

_STATIC = Path(__file__).parent / "static" / "llmstream"
#: A text in a module of the widget, and of an error that the client itself makes.
_TEXT = re.compile(r'\b_\(\s*("(?:[^"\\\n]|\\.)*")|\bmessage(?: =|:) ("[A-Z][^"\\\n]*")')


@cache
def english_texts() -> tuple[str, ...]:
    """Return every text that the widget's modules show by themselves."""
    modules = [*sorted(_STATIC.glob("*.js")), *sorted((_STATIC / "chat").glob("*.js"))]
    found = (match for path in modules for match in _TEXT.findall(path.read_text(encoding="utf-8")))
    return tuple(dict.fromkeys(json.loads(text or error) for text, error in found))


def translated(text: str) -> str:
    """Return a text of the widget in the active language, for what the server shows in its place."""
    return pgettext(CONTEXT, text) if text else ""


def widget_texts() -> dict[str, str]:
    """Return what differs from English in the active language, errors included, by the English texts."""
    texts = {text: translated(text) for text in english_texts()} | {text: gettext(text) for text in messages()}
    return {english: text for english, text in texts.items() if text != english}
