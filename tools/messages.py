"""Translations: collect what is to be translated, bring the catalogs up to date, compile them.

    python -m tools.messages

Texts come from Python and templates as with Django's own makemessages, from the widget's modules, and from the errors,
each of which says its text in the first line of its docstring. New ones are left empty in the catalogs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

from llmstream.exceptions import messages
from llmstream.texts import CONTEXT, english_texts

PACKAGE = Path(__file__).resolve().parent.parent / "llmstream"
LOCALES = PACKAGE / "locale"
KEYWORDS = {
    **dict.fromkeys(("_", "_t", "gettext", "gettext_lazy", "gettext_noop")),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (1, 2)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ((1, "c"), 2)),
}
#: What django's templatize makes of what is no text.
_NOISE = re.compile(r"^[ \t]+", re.MULTILINE)


def collected() -> Catalog:
    """Return a catalog of every text, without places: these would change with each line of the code."""
    found = Catalog(project="llmstream", charset="utf-8")
    for text, context in (*_python(), *_templates(), *((text, None) for text in sorted(messages()))):
        found.add(text, context=context)
    for text in english_texts():
        found.add(text, context=CONTEXT)
    return found


def catalogs() -> Iterator[Path]:
    """Yield the catalog of each language."""
    yield from sorted(LOCALES.glob("*/LC_MESSAGES/django.po"))


def read(path: Path) -> Catalog:
    """Return the catalog of a language."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parent.parent.name)


def compiled(catalog: Catalog) -> bytes:
    """Return a catalog as servers read it."""
    buffer = BytesIO()
    write_mo(buffer, catalog)
    return buffer.getvalue()


def _python() -> Iterator[tuple[str | tuple[str, ...], str | None]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        with path.open("rb") as file:
            yield from _texts(file.read())


def _templates() -> Iterator[tuple[str | tuple[str, ...], str | None]]:
    for path in sorted(PACKAGE.rglob("templates/**/*.html")):
        yield from _texts(_NOISE.sub("", templatize(path.read_text(encoding="utf-8"))).encode())


def _texts(source: bytes) -> Iterator[tuple[str | tuple[str, ...], str | None]]:
    for _line, text, _comments, context in extract("python", BytesIO(source), KEYWORDS):
        yield text, context


def main() -> None:
    """Bring every language up to date."""
    wanted = collected()
    for path in catalogs():
        catalog = read(path)
        wanted.creation_date = catalog.creation_date
        catalog.update(wanted, no_fuzzy_matching=True)
        catalog.obsolete.clear()
        with path.open("wb") as file:
            write_po(file, catalog, width=120, sort_output=True, omit_header=False)
        path.with_suffix(".mo").write_bytes(compiled(catalog))
        missing = [message.id for message in catalog if message.id and not message.string]
        print(f"{path.parent.parent.name}: {len(catalog)} texts, {len(missing)} not translated")


if __name__ == "__main__":
    main()
