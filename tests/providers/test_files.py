"""Files that people attach, in the formats of the services."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from llmstream.providers import ChatFile, ChatMessage, Provider
from llmstream.providers.openai import OpenAIProvider
from tests.files import PDF, PNG
from tests.upstream import Upstream

from .asking import ask, text
from .services import ANSWER, KEY, SERVICES

TEXT = "caf\u00e9,1\n"
HISTORY = (
    ChatMessage("system", "Be brief."),
    ChatMessage("user", "What is this?", files=[ChatFile("1", "a.png", "image/png", len(PNG), lambda: PNG)]),
    ChatMessage("assistant", "A picture."),
    ChatMessage(
        "user",
        "",
        files=[
            ChatFile("2", "b.pdf", "application/pdf", len(PDF), lambda: PDF),
            ChatFile("3", "c.csv", "text/csv", len(TEXT.encode()), TEXT.encode),
        ],
    ),
)
READ = f"Attached file c.csv:\n\n{TEXT}"
IMAGE, DOCUMENT = (base64.b64encode(data).decode() for data in (PNG, PDF))
IMAGE_URL, DOCUMENT_URL = f"data:image/png;base64,{IMAGE}", f"data:application/pdf;base64,{DOCUMENT}"


def texts(*said: str, kind: str = "text") -> list[dict[str, Any]]:
    """Return parts of text."""
    return [{"type": kind, "text": item} for item in said]


SENT: dict[str, tuple[str, list[Any]]] = {
    "chat": (
        "messages",
        [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": IMAGE_URL}}, *texts("What is this?")],
            },
            {"role": "assistant", "content": "A picture."},
            {
                "role": "user",
                "content": [
                    {"type": "file", "file": {"filename": "b.pdf", "file_data": DOCUMENT_URL}},
                    *texts(READ),
                ],
            },
        ],
    ),
    "responses": (
        "input",
        [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "detail": "auto", "image_url": IMAGE_URL},
                    *texts("What is this?", kind="input_text"),
                ],
            },
            {"role": "assistant", "content": "A picture."},
            {
                "role": "user",
                "content": [
                    {"type": "input_file", "filename": "b.pdf", "file_data": DOCUMENT_URL},
                    *texts(READ, kind="input_text"),
                ],
            },
        ],
    ),
    "anthropic": (
        "messages",
        [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}},
                    *texts("What is this?"),
                ],
            },
            {"role": "assistant", "content": "A picture."},
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": DOCUMENT},
                        "title": "b.pdf",
                    },
                    *texts(READ),
                ],
            },
        ],
    ),
    # The package's own spelling of mime_type; the service takes both.
    "gemini": (
        "contents",
        [
            {
                "role": "user",
                "parts": [{"inlineData": {"mime_type": "image/png", "data": IMAGE}}, {"text": "What is this?"}],
            },
            {"role": "model", "parts": [{"text": "A picture."}]},
            {
                "role": "user",
                "parts": [{"inlineData": {"mime_type": "application/pdf", "data": DOCUMENT}}, {"text": READ}],
            },
        ],
    ),
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """The services."""
    with Upstream() as upstream:
        yield upstream


@pytest.mark.parametrize("name", SENT)
async def test_files_are_sent_as_the_service_takes_them(upstream: Upstream, name: str) -> None:
    where, expected = SENT[name]
    provider: Provider
    if name == "chat":
        model, provider = "answer", OpenAIProvider(base_url=upstream.url, api_key=KEY, max_retries=0)
    else:
        model, provider = SERVICES[name].model("answer"), SERVICES[name].make(upstream)
    try:
        assert text(await ask(provider, model, *HISTORY)) == ANSWER
    finally:
        await provider.aclose()
    assert upstream.exchanges[-1].body[where] == expected
