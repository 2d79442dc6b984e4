"""Code with its words marked by CSS classes, as Pygments sees it."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Any, Final

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

#: Longer code is shown as it is.
MOST_CHARS: Final = 50_000
#: What stands before the names of Pygments' classes.
PREFIX: Final = "llm-hl-"

#: Languages that are marked, by the names that models give them. Not all that Pygments knows: many of its lexers are
#: slow on what was written to be slow.
_LANGUAGES = (
    "bash c c++ c# cpp cs csharp css diff docker dockerfile elixir erlang go golang graphql haskell html http ini "
    "java javascript js json jsx kotlin kt lua make makefile nginx objective-c perl php postgres powershell ps1 "
    "py python r rb rs ruby rust scala scss sh shell sql swift toml ts tsx typescript xml yaml yml zsh"
)
LANGUAGES: Final = frozenset(_LANGUAGES.split())


def marked(code: str, language: str) -> str:
    """Return code as HTML."""
    if language.lower() not in LANGUAGES or len(code) > MOST_CHARS:
        return escape(code, quote=False)
    formatter: Any = HtmlFormatter(nowrap=True, classprefix=PREFIX)
    found = str(highlight(code, _lexer(language.lower()), formatter))
    return found if code.endswith("\n") else found.removesuffix("\n")


@cache
def _lexer(language: str) -> Any:
    return get_lexer_by_name(language, stripnl=False, ensurenl=False)
