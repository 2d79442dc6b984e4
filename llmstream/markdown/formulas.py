"""TeX as MathML: as a tree that the widget builds elements of, and as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape, unescape
from typing import Any, Final, TypeAlias
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

#: ``[name, attributes, *children]``; a child is text or a tree.
Tree: TypeAlias = list[Any]

#: A formula that is longer, or in which braces are nested deeper, stays as it was written.
MOST_CHARS: Final = 2_000
_DEEPEST: Final = 40

_ELEMENTS = (
    "math menclose merror mfenced mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms "
    "mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none"
)
ELEMENTS: Final = frozenset(_ELEMENTS.split())
_ATTRIBUTES = (
    "accent accentunder columnalign columnlines columnspacing depth display displaystyle fence form height "
    "largeop linethickness lspace mathcolor mathsize mathvariant maxsize minsize movablelimits notation rowlines "
    "rowspacing rspace scriptlevel separator stretchy symmetric voffset width"
)
ATTRIBUTES: Final = frozenset(_ATTRIBUTES.split())
#: An environment that the converter does not know, and the one that means the same.
_ENVIRONMENT = re.compile(r"(\\(?:begin|end)\{)(?:aligned|gathered)(?=\})")


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula of a text: as it is written there with its delimiters, and as MathML."""

    source: str
    tree: Tree


def mathml(tex: str, *, display: bool) -> Tree | None:
    """Return TeX as MathML, or None for what is no formula that can be read."""
    if len(tex) > MOST_CHARS or _depth(tex) > _DEEPEST:
        return None
    try:
        root = convert_to_element(_ENVIRONMENT.sub(r"\1split", tex.strip()), display="block" if display else "inline")
        return _tree(root)
    except Exception:  # The converter raises errors of every kind for what it cannot read.
        return None


def html(tree: Tree) -> str:
    """Return a tree as HTML."""
    return "".join(_html(tree))


def written(attributes: Mapping[str, object]) -> str:
    """Return attributes as they stand in a tag, with a space before each."""
    return "".join(f' {name}="{escape(str(value))}"' for name, value in attributes.items())


def _depth(tex: str) -> int:
    depth = deepest = 0
    for mark in tex:
        depth += (mark == "{") - (mark == "}")
        deepest = max(deepest, depth)
    # Environments and fences nest, too.
    return max(deepest, tex.count(r"\begin"), tex.count(r"\left"))


def _tree(element: Element) -> Tree:
    """Return an element with what is known of it; of others what they hold."""
    name = element.tag if element.tag in ELEMENTS else "mrow"
    children: list[Any] = []
    if text := unescape(element.text or ""):
        children.append(text)
    children += [_tree(child) for child in element]
    return [name, {key: value for key, value in element.attrib.items() if key in ATTRIBUTES}, *children]


def _html(tree: Tree | str) -> Iterator[str]:
    if isinstance(tree, str):
        yield escape(tree, quote=False)
        return
    name, attributes, *children = tree
    yield f"<{name}{written(attributes)}>"
    for child in children:
        yield from _html(child)
    yield f"</{name}>"
