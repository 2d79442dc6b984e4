"""The documentation as the tests read it: its pages, and the snippets and commands on them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def page(name: str) -> str:
    """Return a documentation page."""
    return (ROOT / name).read_text(encoding="utf-8")


def snippet(name: str, containing: str) -> dict[str, Any]:
    """Run the one Python snippet of a page that contains a text; return its names."""
    found = [code for code in re.findall(r"```python\n(.*?)```", page(name), re.DOTALL) if containing in code]
    assert len(found) == 1, f"{name} has {len(found)} snippets with {containing!r}"
    namespace: dict[str, Any] = {}
    exec(compile(found[0], name, "exec"), namespace)
    return namespace


def commands(name: str, program: str) -> list[list[str]]:
    """Return the commands of a page that start with a program, split as a shell does."""
    lines = re.findall(rf"^    ({re.escape(program)} .*)$", page(name), re.MULTILINE)
    assert lines, f"{name} has no {program}"
    return [shlex.split(line) for line in lines]
