"""The examples of the CommonMark specification, and HTML in the form in which two of it are compared."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

#: Version 0.31, by John MacFarlane, CC BY-SA 4.0: section and Markdown of each example.
EXAMPLES: Final[list[tuple[str, str]]] = [
    (section, markdown)
    for section, examples in json.loads(Path(__file__).with_name("commonmark.json").read_text(encoding="utf-8")).items()
    for markdown in examples
]
_AROUND_BREAK = re.compile(r"[ \t]*\n[ \t]*")
#: What only the widget has: parts of its shadow, and buttons.
_WIDGET_ONLY = frozenset(("part", "hidden", "data-language"))


_BLOCKS = "blockquote div h3 h4 h5 h6 hr li ol p pre table tbody td th thead tr ul"


class _Canon(HTMLParser):
    """Reads HTML into a list: tags with sorted attributes, and texts in which white space between blocks is nothing."""

    BLOCKS = frozenset(_BLOCKS.split())

    def __init__(self, base: str) -> None:
        super().__init__(convert_charrefs=True)
        self.base = base
        self.found: list[Any] = []
        self._button = self._pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._button += tag == "button"
        self._pre += tag == "pre"
        if not self._button and tag not in ("tbody", "span"):
            self.found.append((tag, sorted(self._attribute(*attr) for attr in attrs if attr[0] not in _WIDGET_ONLY)))

    def handle_endtag(self, tag: str) -> None:
        if not self._button and tag not in ("tbody", "span"):
            self.found.append(f"/{tag}")
        self._button -= tag == "button"
        self._pre -= tag == "pre"

    def handle_data(self, data: str) -> None:
        if self._button:
            return
        if self.found and isinstance(self.found[-1], list):
            self.found[-1][0] += data
        else:
            self.found.append([data])

    def _attribute(self, name: str, value: str | None) -> tuple[str, str]:
        if name == "href":
            # Browsers and the server escape other characters of an address; it is the same one.
            parts = urlsplit(unquote(urljoin(self.base, value or "")).replace("\\", "/"))
            return name, urlunsplit(parts._replace(path=parts.path or "/"))
        return name, value or ""


def canonical(html: str, base: str) -> list[Any]:
    """Return what HTML shows; ``base`` is the address of its page."""
    canon = _Canon(base)
    canon.feed(html)
    canon.close()
    return list(_stripped(canon.found))


def _stripped(found: list[Any]) -> Any:
    """Yield tags and texts without the white space around blocks."""
    pre = False
    for index, item in enumerate(found):
        if not isinstance(item, list):
            pre = (pre or item[0] == "pre") and item != "/pre"
            yield item
            continue
        text = item[0]
        if pre:
            text = text.rstrip("\n")
        else:
            text = _AROUND_BREAK.sub("\n", text)
            before, after = (found[at] if 0 <= at < len(found) else "/p" for at in (index - 1, index + 1))
            text = text.lstrip(" \n") if _is_block(before) else text
            text = text.rstrip(" \n") if _is_block(after) else text
        if text:
            yield text


def _is_block(item: Any) -> bool:
    name = item[0] if isinstance(item, tuple) else str(item).lstrip("/")
    return name in _Canon.BLOCKS or name in ("br", "input")
