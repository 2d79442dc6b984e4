"""What Markdown has here beyond CommonMark, tables and struck text: formulas, and lists of tasks."""

from __future__ import annotations

import re
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from .formulas import MOST_CHARS

#: Types of tokens.
FORMULA: Final = "formula"
FORMULA_BLOCK: Final = "formula_block"
TASK: Final = "task"

_CLOSING: Final = {"$$": "$$", r"\(": r"\)", r"\[": r"\]"}
_DISPLAY: Final = frozenset(("$$", r"\["))
#: Prices are no formulas: within single dollars there is no space at the ends, and no digit follows.
_SINGLE = re.compile(rf"\$(?![\s$])((?:\\.|[^$\\]){{1,{MOST_CHARS}}})(?<!\s)\$(?![\d$])", re.DOTALL)
_TASK = re.compile(r"\[([ xX])\] +(?=\S)")


def extend(markdown: MarkdownIt) -> None:
    """Teach a parser formulas and tasks."""
    markdown.inline.ruler.before("escape", FORMULA, _inline)
    markdown.block.ruler.before("fence", FORMULA_BLOCK, _block, {"alt": ["paragraph", "blockquote", "list"]})
    markdown.core.ruler.after("inline", TASK, _tasks)


def _inline(state: StateInline, silent: bool) -> bool:
    source = state.src
    if source[state.pos] not in "$\\":
        return False
    opening = source[state.pos : state.pos + 2]
    if opening in _CLOSING:
        begin = state.pos + 2
        end = source.find(_CLOSING[opening], begin, begin + MOST_CHARS + 2)
        tex, after = source[begin:end], end + 2
    else:
        found = _SINGLE.match(source, state.pos) if opening[0] == "$" else None
        end = -1 if found is None else found.end()
        tex, after = (found[1], end) if found else ("", 0)
    if end < 0 or after > state.posMax or not _is_formula(tex):
        return False
    if not silent:
        token = state.push(FORMULA, "math", 0)
        token.content, token.markup = tex, source[state.pos : after]
        token.meta = {"display": opening in _DISPLAY}
    state.pos = after
    return True


def _block(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """A formula that has its lines for itself: what is in it is neither a list nor a heading."""
    if state.is_code_block(first):
        return False
    line = _line(state, first)
    closing = _CLOSING.get(line[:2])
    if closing is None or line[:2] not in _DISPLAY:
        return False
    lines = [line]
    last = first
    while not (lines[-1].endswith(closing) and sum(map(len, lines)) > 3):
        last += 1
        if last >= end or state.isEmpty(last) or sum(map(len, lines)) > MOST_CHARS:
            return False
        lines.append(_line(state, last))
    source = "\n".join(lines)
    tex = source[2:-2]
    if closing in tex or not _is_formula(tex):
        return False
    if not silent:
        token = state.push(FORMULA_BLOCK, "math", 0)
        token.block = True
        token.content, token.markup, token.map = tex, source, [first, last + 1]
        token.meta = {"display": True}
        state.line = last + 1
    return True


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].rstrip()


def _is_formula(tex: str) -> bool:
    # Escaped brackets around punctuation are none.
    return any(mark.isalnum() for mark in tex)


def _tasks(state: StateCore) -> None:
    for item, paragraph, inline in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if (item.type, paragraph.type, inline.type) != ("list_item_open", "paragraph_open", "inline"):
            continue
        children = inline.children or []
        found = _TASK.match(inline.content)
        if found is None or not children or not children[0].content.startswith(found[0]):
            continue
        children[0].content = children[0].content[found.end() :]
        checkbox = Token(TASK, "input", 0)
        checkbox.meta = {"checked": found[1] != " "}
        children.insert(0, checkbox)
        item.attrSet("class", "llm-task")
