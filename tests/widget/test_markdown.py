"""Markdown a piece at a time, in the browser and without a server's help."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.client.site import Site
from tests.demo.browsing import Console
from tests.files import png

from .answers import HOSTILE, MARKDOWN

WHOLE = """async text => {
    const {renderMarkdown} = await import("/static/llmstream/chat/markdown.js");
    return renderMarkdown(text).innerHTML;
}"""
APPEND = """async text => {
    const {renderMarkdown} = await import("/static/llmstream/chat/markdown.js");
    document.body.append(renderMarkdown(text));
}"""
PIECES = """async ({text, size}) => {
    const {Markdown} = await import("/static/llmstream/chat/markdown.js");
    const body = document.body.appendChild(document.createElement("div"));
    const markdown = new Markdown(body);
    for (let end = 0; end < text.length; end += size) markdown.show(text.slice(0, end), false);
    markdown.show(text, false);
    const before = body.innerHTML;
    markdown.show(text, true);
    const after = body.innerHTML;
    body.remove();
    return {before, after};
}"""
STEPS = """async texts => {
    const {Markdown} = await import("/static/llmstream/chat/markdown.js");
    const body = document.createElement("div");
    const markdown = new Markdown(body);
    return texts.map(text => (markdown.show(text, false), body.textContent));
}"""
NODES = """async ([first, second]) => {
    const {Markdown} = await import("/static/llmstream/chat/markdown.js");
    const body = document.createElement("div");
    const markdown = new Markdown(body);
    markdown.show(first, false);
    const walker = document.createTreeWalker(body);
    const nodes = [];
    while (walker.nextNode()) nodes.push(walker.currentNode);
    await import("/static/llmstream/chat/changes.js");
    markdown.show(second, false);
    markdown.show(second, true);
    return nodes.filter(node => !body.contains(node)).map(node => node.textContent);
}"""

IN_A_CHAT = """async ({text, origins}) => {
    const {Markdown} = await import("/static/llmstream/chat/markdown.js");
    const chat = document.body.appendChild(document.createElement("div"));
    chat.setAttribute("image-origins", origins);
    const body = chat.attachShadow({mode: "open"}).appendChild(document.createElement("div"));
    const markdown = new Markdown(body);
    for (let end = 0; end < text.length; end++) markdown.show(text.slice(0, end), false);
    markdown.show(text, true);
}"""


@pytest.fixture(scope="module")
def scripted() -> Iterator[Site]:
    """A site that serves the modules under a strict policy."""
    with Site() as site:
        yield site


# One for all tests: none of them leaves anything behind.
@pytest.fixture(scope="module")
def page(browser: Browser, scripted: Site) -> Iterator[Page]:
    """An empty page; it must not complain."""
    console = Console()
    context = browser.new_context(base_url=scripted.url)
    page = context.new_page()
    console.watch(page)
    page.goto("/")
    yield page
    context.close()
    assert console.errors == []
    # Nothing that a model wrote was fetched.
    assert scripted.untouched


@pytest.mark.parametrize("size", [1, 3, 7, 50])
@pytest.mark.parametrize("text", [MARKDOWN, HOSTILE], ids=["plain", "hostile"])
def test_a_text_in_pieces_ends_as_the_whole_text(page: Page, text: str, size: int) -> None:
    shown = page.evaluate(PIECES, {"text": text, "size": size})
    assert shown["after"] == page.evaluate(WHOLE, text)


def test_markdown_becomes_elements(page: Page) -> None:
    html = page.evaluate(WHOLE, MARKDOWN)
    for part in (
        '<h3 dir="auto">A plan</h3>',
        "<strong>bold</strong>, <em>slanted</em>, <del>gone</del>",
        'href="https://example.com/a_(b)" title="Title"',
        'href="https://example.net/reference"',
        "© — &amp;.",
        '<ol dir="auto" start="2">',
        '<td dir="auto" data-align="right">1.20</td>',
        '<input type="checkbox" disabled="" checked="" aria-label="Done">',
        "<br>line two",
        '<pre dir="ltr" tabindex="0" role="group" aria-label="python" data-language="python">',
    ):
        assert part in html


def test_nothing_hostile_comes_alive(page: Page) -> None:
    page.evaluate(APPEND, HOSTILE)
    assert page.locator("body :is(script, img, style, iframe, svg, [onerror], [onload], [style])").count() == 0
    links = page.locator("body a").evaluate_all("links => links.map(link => [link.protocol, link.rel, link.target])")
    assert {protocol for protocol, _, _ in links} == {"http:"}
    assert {(rel, target) for _, rel, target in links} == {("noopener noreferrer nofollow ugc", "_blank")}
    assert page.evaluate("globalThis.harmed") is None
    assert "<script>globalThis.harmed = true</script>" in page.locator("body").inner_text()
    page.evaluate("document.body.replaceChildren()")


def test_only_images_of_trusted_origins_are_fetched(browser: Browser) -> None:
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        assert "referer" not in route.request.headers
        route.fulfill(body=png(8), content_type="image/png")

    text = 'See ![a cat](https://a.example/cat.png "Cat") ![x](https://a.example.evil/x) [![y](//b.example:1/y)](/z).'
    console = Console()
    with Site() as site, browser.new_context(base_url=site.url) as context:
        site.policy += "; img-src https://a.example"
        page = context.new_page()
        console.watch(page)
        page.goto("/")
        page.route("**/*.png", answer)
        page.evaluate(IN_A_CHAT, {"text": text, "origins": "https://a.example https://c.example"})
        picture = page.get_by_role("img")
        assert picture.evaluate("async image => (await image.decode(), image.naturalWidth)") == 8
        assert [picture.get_attribute(name) for name in ("alt", "title")] == ["a cat", "Cat"]
        assert page.locator("a.llm-image").count() == 2
    assert (asked, console.errors) == (["https://a.example/cat.png"], [])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a **bo", "a bo"),
        ("a **", "a "),
        ("**b*", "b"),
        ("a `co", "a co"),
        ("see [here](https://exa", "see here"),
        ("![alt](https://exa", "alt"),
        ("Items:\n-", "Items:"),
        ("Title\n\n##", "Title"),
        ("snake_case 2 * 3", "snake_case 2 * 3"),
        ("```py\nx = 1\n``", "pyCopyx = 1\n``"),
    ],
)
def test_half_a_marker_is_not_shown(page: Page, text: str, shown: str) -> None:
    assert page.evaluate(STEPS, [text])[0].strip() == shown.strip()


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("One.\n\nTwo.\n\nThree.\n\n```\ncode", " that\ngrows\n```\n\nEnd."),
        ("With **weight** it gr", "ows &amp; goes `on`."),
        ("## A *long* head", "ing"),
        ("- One\n- Two\n", "- Three"),
        ("| a | b |\n|---|--:|\n| 1 | 2 |\n", "| 3 | 4 |\n\nEnd."),
    ],
    ids=["code", "paragraph", "heading", "list", "table"],
)
def test_what_stays_keeps_its_nodes(page: Page, text: str, more: str) -> None:
    """What a reader has selected in it stays selected."""
    assert page.evaluate(NODES, [text, text + more]) == []


@pytest.mark.parametrize("text", [">" * 20_000 + " deep", "[" * 20_000, "*a " * 5_000], ids=[">", "[", "*"])
def test_a_text_that_is_hard_to_read_is_shown_all_the_same(page: Page, text: str) -> None:
    shown = page.evaluate(STEPS, [text])[0]
    assert "deep" in shown or text[:2] in shown or "a a a" in shown
