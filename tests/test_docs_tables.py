"""The documentation says everything: its tables are what the code has, and its links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

from llmstream import checks, events, exceptions
from llmstream.conf import ModelSettings, Settings
from llmstream.exceptions import LLMStreamError
from tests.documentation import PAGES, page


def subclasses(of: type[LLMStreamError]) -> Iterator[type[LLMStreamError]]:
    """Every error class below ``of``."""
    for sub in of.__subclasses__():
        yield sub
        yield from subclasses(sub)


def test_links_between_pages_lead_somewhere() -> None:
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_settings_table_is_complete_and_its_defaults_are_true() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `(.*?)` \|", page("docs/settings.md"), re.MULTILINE))
    assert set(rows) == {field.name.upper() for field in fields(Settings)}
    for field in fields(Settings):
        default = {} if field.default is MISSING else field.default
        text = rows[field.name.upper()]
        assert text.strip('"') == default if isinstance(default, str) else eval(text) == default, field.name


def test_every_key_of_a_model_entry_is_told() -> None:
    text = page("docs/providers.md")
    assert [field.name for field in fields(ModelSettings) if f"`{field.name.upper()}`" not in text] == []


def test_every_error_code_is_told() -> None:
    text = page("docs/http.md")
    told = {error.code for error in subclasses(exceptions.LLMStreamError)} - {"lease_lost", "limit_reached"}
    assert [code for code in sorted(told) if f"`{code}`" not in text] == []


def test_every_check_is_told() -> None:
    source = Path(checks.__file__).read_text(encoding="utf-8")
    ids = set(re.findall(r'id="(llmstream\.[EW]\d{3})"', source))
    assert ids == set(re.findall(r"`(llmstream\.[EW]\d{3})`", page("docs/settings.md")))


def test_every_event_type_is_told() -> None:
    text = page("docs/events.md")
    types = [
        value
        for name, value in vars(events).items()
        if name.isupper() and isinstance(value, str) and re.fullmatch("[a-z-]+", value)
    ]
    assert [kind for kind in types if f"`{kind}`" not in text] == []


def test_every_guarantee_names_a_test_that_is_there() -> None:
    rows = re.findall(r"^\| .* \| (.*) \|$", page("docs/security.md"), re.MULTILINE)
    assert [row for row in rows if row != "test" and "](../tests/" not in row and row != "the same"] == []
