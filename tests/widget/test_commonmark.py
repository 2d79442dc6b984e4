"""What the browser makes of the examples of CommonMark, beside what the server makes of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from llmstream.markdown.renderer import render
from tests.client.site import Site

from .commonmark import EXAMPLES, canonical

RENDER = """async texts => {
    const {renderMarkdown} = await import("/static/llmstream/chat/markdown.js");
    return texts.map(text => renderMarkdown(text).innerHTML);
}"""
# Each text a character at a time, so that most of its elements have been changed before they are finished.
GROW = """async texts => {
    const {Markdown, renderMarkdown} = await import("/static/llmstream/chat/markdown.js");
    const grown = async text => {
        const body = document.createElement("div");
        const markdown = new Markdown(body);
        markdown.show(text[0], false);
        await import("/static/llmstream/chat/changes.js");
        for (let end = 0; end <= text.length; end++) markdown.show(text.slice(0, end), false);
        markdown.show(text, true);
        return body.innerHTML;
    };
    const shown = await Promise.all(texts.map(grown));
    return texts.filter((text, index) => shown[index] !== renderMarkdown(text).innerHTML);
}"""

#: What the two show differently, by the number of the example, and why.
DIFFERENT = {
    **dict.fromkeys((25, 32, 33, 503), "the widget knows the character references that models use, not all 2,231"),
    **dict.fromkeys((517, 531), "an image in a link: the server keeps the outer link, the widget nests them"),
    **dict.fromkeys(
        (520, 573, 574, 575, 576, 577, 585, 589), "Markdown in the text of an image: the widget shows its source"
    ),
}


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of a site that serves the modules."""
    with Site() as site:
        context = browser.new_context(base_url=site.url)
        page = context.new_page()
        page.goto("/")
        yield page
        context.close()


def test_the_browser_shows_what_the_server_shows(page: Page) -> None:
    texts = [markdown for _, markdown in EXAMPLES]
    assert len(texts) == 652
    shown = page.evaluate(RENDER, texts)
    differ = {
        number
        for number, (text, html) in enumerate(zip(texts, shown, strict=True), 1)
        if canonical(html, page.url) != canonical(_rendered(text), page.url)
    }
    assert differ == set(DIFFERENT)


def test_what_has_grown_is_what_the_whole_text_makes(page: Page) -> None:
    assert page.evaluate(GROW, [markdown for _, markdown in EXAMPLES]) == []


def _rendered(text: str) -> str:
    found = render(text)
    assert found is not None
    return found.html
