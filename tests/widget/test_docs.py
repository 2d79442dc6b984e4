"""What docs/widget.md says: its snippets run, its tables are complete."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.template import Context, Template
from playwright.sync_api import expect

from llmstream.models import Conversation
from tests.support import user

from .conftest import NewWidget
from .test_tags import request

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "widget.md").read_text(encoding="utf-8")
STATIC = ROOT / "llmstream" / "static" / "llmstream"
MODULES = [STATIC / "chat.js", *sorted((STATIC / "chat").glob("*.js"))]
#: Loaded once the rest works.
LATER = [STATIC / "chat" / name for name in ("branching.js", "branching.css", "dress.js")]
FEEDBACK = [STATIC / "chat" / "feedback.js", STATIC / "chat" / "feedback.css"]
#: Loaded when there is such a thing.
TOOLS = [STATIC / "chat" / "tool.js", STATIC / "chat" / "tool.css"]
HIGHLIGHTER = STATIC / "vendor" / "speed-highlight"
HIGHLIGHT = [STATIC / "chat" / "highlight.js", STATIC / "chat" / "highlight.css", HIGHLIGHTER / "tokenize.js"]
#: Loaded where files may be attached, or are.
FORMULAS = [STATIC / "chat" / "formulas.js"]
PICTURES = [STATIC / "chat" / "pictures.js"]
CHANGES = [STATIC / "chat" / "changes.js"]
FILES = [STATIC / "chat" / "files.js", STATIC / "chat" / "files.css", STATIC / "uploads.js"]
#: Beside the client: the widget itself, and what is loaded when it is needed.
APART = ("chat.js", "uploads.js", "llm-room.js")
#: Loaded on the pages of rooms.
ROOM = [STATIC / "llm-room.js", STATIC / "llm-room.css"]
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in MODULES)
CSS = "\n".join(path.read_text(encoding="utf-8") for path in (STATIC / "chat.css", STATIC / "chat" / "highlight.css"))


def snippet(language: str) -> str:
    """The one snippet in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.mark.django_db
def test_the_page_of_the_example_shows_a_conversation() -> None:
    ann: User = user("ann")
    conversation = Conversation.objects.create(owner=ann)
    html = Template(snippet("html")).render(Context({"request": request(ann), "conversation": conversation}))
    assert f'conversation="{conversation.public_id}"' in html
    assert "chat.css" in html
    assert "chat.js" in html


def test_the_example_script_and_style_do_what_they_say(new_widget: NewWidget) -> None:
    widget = new_widget("hostile")
    expect(widget.box).to_be_visible()
    widget.page.evaluate(
        """css => {
            const sheet = new CSSStyleSheet();
            sheet.replaceSync(css);
            document.adoptedStyleSheets = [sheet];
        }""",
        snippet("css"),
    )
    widget.page.evaluate(f"async () => {{ {snippet('javascript')} }}")
    expect(widget.page).to_have_title("Answer completed", timeout=30_000)
    assert widget.chat.evaluate("chat => getComputedStyle(chat).height") == "480px"
    expect(widget.answer.locator(".llm-author")).to_be_hidden()


def test_every_part_property_attribute_event_and_member_is_told() -> None:
    parts = {name for found in re.findall(r'[{,] part: [`"]([a-z ]+)', SOURCE) for name in found.split()}
    events = set(re.findall(r'"(llm-(?:send|start|end|event|connection|error))"', SOURCE))
    properties = set(re.findall(r"var\((--llm-[a-z-]+)", CSS))
    attributes = set(re.findall(r'getAttribute\("([a-z-]+)"\)', (STATIC / "chat.js").read_text(encoding="utf-8")))
    assert len(parts) > 15
    assert len(events) == 6
    names = parts | events | properties | attributes
    assert [name for name in sorted(names) if f"`{name}`" not in PAGE] == []


def test_the_widget_stays_small() -> None:
    first = [
        path
        for path in MODULES
        if path not in [*LATER, *FILES, *FEEDBACK, *TOOLS, *HIGHLIGHT, *FORMULAS, *PICTURES, *CHANGES]
    ]
    assert gzipped([*first, STATIC / "chat.css", STATIC / "vendor" / "marked.esm.js"]) <= 40_000
    assert gzipped([path for path in STATIC.glob("*.js") if path.name not in APART]) <= 32_000
    assert gzipped(LATER) <= 3_000
    assert gzipped(FEEDBACK) <= 4_000
    assert gzipped(TOOLS) <= 2_000
    assert gzipped(HIGHLIGHT) <= 3_000
    assert max(gzipped([path]) for path in (HIGHLIGHTER / "languages").glob("*.js")) <= 2_000
    assert gzipped(FILES) <= 5_000
    assert gzipped(FORMULAS) <= 2_000
    assert gzipped([*PICTURES, *CHANGES]) <= 2_000
    assert gzipped(ROOM) <= 4_000
    assert "under 5 kB" in PAGE
    assert "under 40 kB" in PAGE
    assert "under 3 kB" in PAGE
    assert "under 4 kB" in PAGE
    assert "under 2 kB for a language" in PAGE
    assert "another 32 kB" in PAGE


def gzipped(files: list[Path]) -> int:
    """Bytes of files that are sent compressed."""
    return sum(len(gzip.compress(path.read_bytes(), 9)) for path in files)
