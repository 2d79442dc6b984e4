"""Markdown as HTML: what comes out, what never does, and how long it takes at worst."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from llmstream.markdown import renderer
from llmstream.markdown.formulas import mathml
from llmstream.markdown.renderer import MOST_CHARS, render
from tests.widget.answers import HOSTILE, MARKDOWN

ELEMENTS = {"a", "blockquote", "br", "code", "del", "div", "em", "h3", "h4", "h5", "h6", "hr", "input", "li", "ol", "p"}
ELEMENTS |= {"pre", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul", "math"}


class _Tags(HTMLParser):
    """Collects what a browser would make of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]


def html(text: str, *origins: str) -> str:
    """Render a text."""
    found = render(text, origins)
    assert found is not None
    return found.html


def tags(text: str) -> _Tags:
    """Return what is in a text's HTML."""
    found = _Tags()
    found.feed(html(text))
    return found


@pytest.mark.parametrize(
    "part",
    [
        '<h3 dir="auto">A plan</h3>',
        "<strong>bold</strong>, <em>slanted</em>, <del>gone</del>",
        'href="https://example.com/a_(b)"',
        'href="https://example.net/reference"',
        "© — &amp;.",
        '<ol start="2" dir="auto">',
        '<td dir="auto" data-align="right">1.20</td>',
        '<input type="checkbox" disabled="" checked="" aria-label="Done">',
        'rel="noopener noreferrer nofollow ugc"',
        '<span class="llm-hl-k">for</span>',
    ],
)
def test_markdown_becomes_the_elements_of_the_widget(part: str) -> None:
    assert part in html(MARKDOWN)


def test_nothing_hostile_comes_alive() -> None:
    found = tags(HOSTILE)
    assert found.tags <= ELEMENTS
    assert not {name for name in found.attributes if name.startswith("on") or name in ("style", "src")}
    assert {address.partition(":")[0] for address in found.addresses} <= {
        "/harm/inline",
        "/harm/reference",
        "//example.com/x",
    }
    assert "&lt;script&gt;globalThis.harmed = true&lt;/script&gt;" in html(HOSTILE)


@pytest.mark.parametrize(
    "link",
    [
        "[x](javascript:1)",
        "[x](java\tscript:1)",
        "[x](&#106;avascript:1)",
        "[x](<java\nscript:1>)",
        "[x](\x01javascript:1)",
        "[x](data:text/html,1)",
        "[x](vbscript:1)",
        "[x](file:///etc/passwd)",
        "<javascript:x>",
        "[x][r]\n\n[r]: javascript:1",
        "![x](javascript:1)",
    ],
)
def test_links_that_could_run_something_are_what_they_would_have_been_called(link: str) -> None:
    assert "<a" not in html(link)
    assert "x" in html(link)


def test_images_are_links_unless_their_origin_is_trusted() -> None:
    text = '![A cat](https://images.example.com/cat.png "Cat") ![dog](https://images.example.com.evil.net/dog.png)'
    assert html(text).count('class="llm-image"') == 2
    assert "<img" not in html(text)
    trusted = html(text, "https://images.example.com")
    assert re.findall(r'<img[^>]* src="(.*?)"', trusted) == ["https://images.example.com/cat.png"]
    assert trusted.count('class="llm-image"') == 1
    assert "<img" not in html(text, "https://example.com")


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("Let $x^2 < 3$ be.", ["$x^2 < 3$"]),
        (r"Let \(a_b\) be, and \[c\].", [r"\(a_b\)", r"\[c\]"]),
        ("So\n$$\na\n- b\n$$\nholds.", ["$$\na\n- b\n$$"]),
        ("- in a list $y$\n\n  \\[\n  z = 1\n  \\]", ["$y$", "\\[\nz = 1\n\\]"]),
        ("$$E = mc^2$$", ["$$E = mc^2$$"]),
        ("It costs $5, or $10 for two, and US$3-$4.", []),
        ("`$x$` and\n\n```\n$$y$$\n```", []),
        (r"\$x\$ and \\(y\\) and \(\)", []),
    ],
)
def test_formulas_are_told_from_prices_and_code(text: str, sources: list[str]) -> None:
    found = render(text)
    assert found is not None
    assert [formula.source for formula in found.formulas] == sources
    assert found.html.count("<math") == len(sources)


def test_what_is_no_tex_stays_as_it_was_written() -> None:
    assert html(r"$\frac{$ and $a_b_c$") == '<p dir="auto">$\\frac{$ and $a_b_c$</p>\n'
    assert mathml("{" * 500 + "x" + "}" * 500, display=False) is None


def test_nothing_of_tex_leads_anywhere_or_has_a_look_of_its_own() -> None:
    found = tags(
        r"$\href{javascript:alert(1)}{x}$ $\style{position:fixed}{x}$ $\class{llm-alert}{x}$ $\text{<img src=x>}$"
    )
    assert found.attributes.isdisjoint({"href", "style", "class"})
    assert "img" not in found.tags
    assert "math" in found.tags


def _filled(text: str) -> str:
    return (text * (MOST_CHARS // len(text) + 1))[:MOST_CHARS]


@pytest.mark.parametrize(
    "text",
    [
        *map(
            _filled,
            ["[a](", "*a **a ", "> ", "- ", "> - ", "<a ", "<!-- ", "$a ", "\\[a ", "a@", "http://a.b/(", "~~a "],
        ),
        "".join("`" * count + " " for count in range(1, 315)),
        "|" + "a|" * 2_000 + "\n|" + "-|" * 2_000 + "\n" + "|a\n" * 10_000,
        "```python\n" + _filled("'\\"),
        " ".join(f"$a_{{{number}}}$" for number in range(5_000)),
        "\n".join(" " * depth + "- a" for depth in range(300)),
    ],
    ids=lambda text: str(text[:8]),
)
def test_what_was_written_to_be_slow_is_not(text: str) -> None:
    # It hangs if it is: the test's own time is the limit.
    found = render(text[:MOST_CHARS])
    assert found is not None
    assert len(found.html) < 40 * MOST_CHARS


def test_a_longer_text_is_not_rendered() -> None:
    assert render("a" * (MOST_CHARS + 1)) is None
    assert renderer.MOST_CHARS <= 50_000
