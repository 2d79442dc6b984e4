"""Markdown as HTML: the elements, classes and directions that the widget makes of the same text.

Nothing that a model writes can do anything on a page: HTML is text, links go to known schemes, images are links unless
the site trusts their origin, and what comes out passes a sanitiser all the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any, Final
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import unescapeAll
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from . import formulas
from .code import marked
from .formulas import Formula, mathml
from .syntax import extend

#: Longer texts are shown as they are.
MOST_CHARS: Final = 50_000
#: Formulas of one text that are set; further ones stay as they were written.
MOST_FORMULAS: Final = 500

#: With more of them tables, and addresses that are no links, are text.
_MOST_CELLS: Final = 20_000
_MOST_ADDRESSES: Final = 300
_SCHEMES: Final = frozenset(("http", "https", "mailto"))
_REL: Final = "noopener noreferrer nofollow ugc"
_LANGUAGE = re.compile(r"[\w+#.-]{1,30}", re.ASCII)
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x20]")
_ALIGN = re.compile(r"text-align:(\w+)")
#: Elements that have the direction of their own text.
_DIRECTED_TOKENS = (
    "paragraph_open heading_open blockquote_open bullet_list_open ordered_list_open list_item_open th_open td_open"
)
_DIRECTED: Final = frozenset(_DIRECTED_TOKENS.split())
_COMMON: Final = {"class", "dir"}
_ATTRIBUTES: Final[dict[str, set[str]]] = {
    "a": {*_COMMON, "href", "title", "target", "rel"},
    "img": {"class", "src", "alt", "title", "loading", "referrerpolicy"},
    "input": {"type", "disabled", "checked", "aria-label"},
    "ol": {*_COMMON, "start"},
    "pre": {*_COMMON, "tabindex", "role", "aria-label"},
    "div": {*_COMMON, "tabindex", "role", "aria-label"},
    "th": {*_COMMON, "data-align", "scope"},
    "td": {*_COMMON, "data-align"},
    **dict.fromkeys(("p", "h3", "h4", "h5", "h6", "blockquote", "ul", "li", "code", "span"), _COMMON),
    **{name: set(formulas.ATTRIBUTES) for name in formulas.ELEMENTS},
}
_TAGS: Final = {*_ATTRIBUTES, *["em", "strong", "del", "br", "hr", "table", "thead", "tbody", "tr"]}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text as HTML, and the formulas in it that could be read."""

    html: str
    formulas: tuple[Formula, ...]


def render(text: str, origins: Collection[str] = ()) -> Rendered | None:
    """Return a text as HTML that may stand on any page, or None for one that is too long.

    ``origins`` are those whose images are shown, such as ``https://images.example.com``.
    """
    if len(text) > MOST_CHARS:
        return None
    env: dict[str, Any] = {"origins": origins, "formulas": {}}
    html = _markdown(_has_small_tables(text), _has_few_addresses(text)).render(text.replace("\0", "\ufffd"), env)
    cleaned = nh3.clean(html, tags=_TAGS, attributes=_ATTRIBUTES, url_schemes=set(_SCHEMES), link_rel=None)
    return Rendered(cleaned, tuple(formula for formula in env["formulas"].values() if formula))


def _has_small_tables(text: str) -> bool:
    # A row may leave its cells out, and has them all the same.
    columns = [line.count("|") for line in text.splitlines() if "|" in line]
    return len(columns) * max(columns, default=0) <= _MOST_CELLS


def _has_few_addresses(text: str) -> bool:
    # Each is looked for up to the end of the text.
    return text.count("://") + text.count("@") <= _MOST_ADDRESSES


@cache
def _markdown(tables: bool, addresses: bool) -> MarkdownIt:
    options = {"html": True, "linkify": addresses, "maxNesting": 30, "xhtmlOut": False}
    markdown = MarkdownIt("commonmark", options, renderer_cls=_Renderer)
    markdown.enable(["strikethrough", "linkify", *(["table"] if tables else [])])
    markdown.linkify.set({"fuzzy_link": False, "fuzzy_email": True})  # type: ignore[union-attr]
    # What may not be linked is shown as what it would have been called, not as its source.
    markdown.validateLink = lambda url: True  # type: ignore[method-assign]
    extend(markdown)
    markdown.core.ruler.push("dress", _dress)
    return markdown


def _dress(state: StateCore) -> None:
    """Give what will be elements the attributes that the widget gives them."""
    for token in state.tokens:
        if token.type in _DIRECTED:
            token.attrSet("dir", "auto")
        if token.type in ("heading_open", "heading_close"):
            # Below the headings of the page around it.
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
        elif token.type in ("th_open", "td_open"):
            align = _ALIGN.match(str(token.attrs.pop("style", "")))
            token.attrs |= {"data-align": align[1]} if align else {}
            token.attrs |= {"scope": "col"} if token.type == "th_open" else {}
        elif token.type == "inline":
            token.children = list(_inline(token.children or [], state.env["origins"]))


def _inline(tokens: Sequence[Token], origins: Collection[str]) -> Iterator[Token]:
    open_links: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            open_links.append(_make_link(token))
        if token.type == "image" and not _origin(str(token.attrs["src"])) & set(origins):
            yield from _image_link(token, nested=any(open_links))
        elif token.type == "link_close":
            if open_links.pop():
                yield token
        elif token.type != "link_open" or open_links[-1]:
            token.tag = "del" if token.type in ("s_open", "s_close") else token.tag
            yield token


def _make_link(token: Token) -> bool:
    """Make a link lead to where it may; returns whether it may."""
    if not _is_safe(str(token.attrs["href"])):
        return False
    token.attrs |= {"dir": "auto", "target": "_blank", "rel": _REL}
    return True


def _image_link(image: Token, *, nested: bool) -> Iterator[Token]:
    link = Token("link_open", "a", 1)
    link.attrs = {"href": image.attrs["src"], "class": "llm-image"}
    link.attrs |= {"title": image.attrs["title"]} if "title" in image.attrs else {}
    # HTML knows no link in a link.
    allowed = not nested and _make_link(link)
    text = Token("text", "", 0)
    text.content = RendererHTML().renderInlineAsText(image.children, {}, {}) or "Image"  # type: ignore[arg-type]
    yield from (link, text, Token("link_close", "a", -1)) if allowed else (text,)


def _is_safe(address: str) -> bool:
    # As browsers read it: they pass over white space and control characters in a scheme.
    try:
        scheme = urlsplit(_CONTROL.sub("", address)).scheme
    except ValueError:
        return False
    return not scheme or scheme.lower() in _SCHEMES


def _origin(address: str) -> set[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return set()
    return {f"{parts.scheme}://{parts.netloc}"}


class _Renderer(RendererHTML):
    """Renders what has more to it than a tag."""

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Code with the name of its language."""
        found = _LANGUAGE.match(unescapeAll(tokens[idx].info).strip())
        return _code(tokens[idx].content, found[0] if found else "")

    def code_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Indented code."""
        return _code(tokens[idx].content, "")

    def code_inline(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Code within a line."""
        return f'<code dir="ltr">{escape(tokens[idx].content, quote=False)}</code>'

    def html_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """HTML is text like any other."""
        return f'<p class="llm-html" dir="auto">{escape(tokens[idx].content.strip(), quote=False)}</p>'

    def html_inline(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """HTML is text like any other, but a line may be broken."""
        source = tokens[idx].content
        return "<br>" if _BREAK.fullmatch(source) else escape(source, quote=False)

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """An image of an origin that the site trusts."""
        token = tokens[idx]
        attributes = {
            "class": "llm-picture",
            "src": token.attrs["src"],
            "alt": self.renderInlineAsText(token.children, options, env),
            **({"title": token.attrs["title"]} if "title" in token.attrs else {}),
            "loading": "lazy",
            "referrerpolicy": "no-referrer",
        }
        return f"<img{formulas.written(attributes)}>"

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A table in a box that scrolls."""
        return '<div class="llm-table" tabindex="0" role="group" aria-label="Table"><table>'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """The end of it."""
        return "</table></div>"

    def task(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A box that is checked, or not."""
        name, checked = ("Done", " checked") if tokens[idx].meta["checked"] else ("To do", "")
        return f'<input type="checkbox" disabled{checked} aria-label="{name}">'

    def formula(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A formula, or its source when it cannot be read."""
        token = tokens[idx]
        known: dict[str, Formula | None] = env["formulas"]
        if token.markup not in known:
            tree = mathml(token.content, display=token.meta["display"]) if len(known) < MOST_FORMULAS else None
            known[token.markup] = Formula(token.markup, tree) if tree else None
        formula = known[token.markup]
        return formulas.html(formula.tree) if formula else escape(token.markup, quote=False)

    def formula_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A formula that has its lines for itself."""
        return f'<p dir="auto">{self.formula(tokens, idx, options, env)}</p>'


def _code(content: str, language: str) -> str:
    name = escape(language)
    return (
        f'<div class="llm-code"><div class="llm-code-bar"><span class="llm-language">{name}</span></div>'
        f'<pre dir="ltr" tabindex="0" role="group" aria-label="{name or "Code"}">'
        f"<code>{marked(content.removesuffix(chr(10)), language)}</code></pre></div>"
    )
