"""Every text is in every language that is shipped, and the site's language decides what people see."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from django.test import override_settings
from django.utils import translation

from llmstream.base_error import codes_of
from llmstream.exceptions import LLMStreamError, NotFound, message_of
from llmstream.texts import english_texts
from tests.widget.test_tags import render
from tools.messages import catalogs, collected, compiled, read

PATHS = list(catalogs())
LANGUAGES = [path.parent.parent.name for path in PATHS]
_PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}")


def texts(of: Any) -> list[str]:
    """Return the singular and plural forms of a text."""
    return [of] if isinstance(of, str) else list(of)


def keys(catalog: Catalog) -> set[tuple[str, str | None]]:
    """Return what a catalog has: the English text and its context."""
    return {(texts(message.id)[0], message.context) for message in catalog if message.id}


@pytest.fixture(autouse=True)
def _in_english() -> Iterator[None]:
    """Leave no language behind, as a request in one does."""
    with translation.override("en"):
        yield


def test_german_and_a_language_from_right_to_left_are_there() -> None:
    assert LANGUAGES == ["ar", "de"]
    with translation.override("ar"):
        assert translation.get_language_bidi()


@pytest.mark.parametrize("path", PATHS, ids=LANGUAGES)
def test_every_text_is_translated(path: Any) -> None:
    catalog = read(path)
    wanted = keys(collected())
    assert len(wanted) > 300
    # `python -m tools.messages` adds what is missing here, for somebody to translate.
    assert wanted - keys(catalog) == set()
    assert keys(catalog) - wanted == set()
    for message in catalog:
        if not message.id:
            continue
        assert not message.fuzzy, message.id
        given = texts(message.string)
        assert all(given), message.id
        assert len(given) == (1 if isinstance(message.id, str) else catalog.num_plurals), message.id
        for text in given:
            assert sorted(_PLACEHOLDER.findall(text)) == sorted(_PLACEHOLDER.findall(texts(message.id)[-1])), text


@pytest.mark.parametrize("path", PATHS, ids=LANGUAGES)
def test_what_servers_read_is_what_was_translated(path: Any) -> None:
    assert path.with_suffix(".mo").read_bytes() == compiled(read(path)), "Run: python -m tools.messages"


def carried(html: str) -> dict[str, str]:
    """The texts that a page carries."""
    found = re.findall(r'<script id="llmstream-texts" type="application/json">(.*?)</script>', html)
    return dict(json.loads(found[0])) if found else {}


def test_the_page_carries_the_texts_of_its_language() -> None:
    assert carried(render("{% llmstream_assets %}")) == {}
    with translation.override("fr"):
        assert carried(render("{% llmstream_assets %}")) == {}
    with translation.override("de-at"):
        german = carried(render("{% llmstream_assets %}"))
    assert german["Send"] == "Senden"
    assert german["Version {place} of {count}"] == "Fassung {place} von {count}"
    # Errors reach the browser in the language of whoever made them: over sockets and in the log that is the site's.
    assert german[NotFound().message] == "Das gibt es nicht, oder es gehört Ihnen nicht."
    assert set(english_texts()) - set(german) <= {"Chat", "Code", "Offline"}


def test_errors_speak_the_language_of_the_request() -> None:
    error = NotFound()
    with translation.override("de"):
        told = {code: message_of(code) for code in codes_of(LLMStreamError)}
        assert error.envelope()["error"]["message"] == told["not_found"]
    assert error.message == "There is no such thing, or it is not yours."
    english = {code: message_of(code) for code in told}
    assert [code for code in told if told[code] == english[code]] == []


def test_a_request_is_answered_in_its_language(client: Any) -> None:
    middleware = ["django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.locale.LocaleMiddleware"]
    with override_settings(MIDDLEWARE=middleware):
        answer = client.get("/llmstream/conversations/", headers={"Accept-Language": "ar"})
    assert answer.json()["error"]["message"] == "سجّل الدخول أولًا."
