"""Tools of the site; each run leaves a line in the file that ``LLMSTREAM_TOOL_RUNS`` names."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from time import monotonic

from llmstream.tools import ToolContext, tool


def _note(what: str) -> None:
    with Path(os.environ["LLMSTREAM_TOOL_RUNS"]).open("a", encoding="utf-8") as runs:
        runs.write(f"{os.getpid()} {what}\n")


@tool(approval=True)
def wipe(what: str) -> str:
    """Delete something, if somebody agrees."""
    _note(what)
    return f"wiped {what}"


@tool
async def search(run: ToolContext, words: str) -> list[str]:
    """Search, slowly."""
    await run.phase("searching", words)
    for percent in (25, 50, 75):
        await run.progress({"percent": percent})
        await asyncio.sleep(0.05)
    await run.data("hits", {"count": 2})
    _note(words)
    return ["one", "two"]


@tool
async def broken() -> None:
    """Fail."""
    _note("broken")
    raise RuntimeError("secret")


@tool(timeout=60.0)
async def endless() -> None:
    """Never return."""
    _note("endless")
    await asyncio.Event().wait()


@tool(approval=True)
async def stamp() -> None:
    """Note the time, if somebody agrees."""
    _note(str(monotonic()))


@tool
async def tick() -> None:
    """Take a moment."""
    await asyncio.sleep(0.02)
