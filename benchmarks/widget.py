"""What a streamed answer costs the browser's main thread: ``python -m benchmarks.widget``.

A text of 21 kB, as models write it, arrives in 64 characters a frame and is shown by turns: by ``<llm-chat>`` with its
client, from the frames of a socket on; in the usual way, as the HTML that marked makes of the whole text so far,
through DOMPurify into ``innerHTML``; as plain text; and not at all, which is what the frames themselves cost. Each run
has a page of its own in one Chromium. The renderer is the part of ``<llm-chat>`` that makes elements of Markdown, by
itself. Rendering is the time in which nodes were made; its worst is one frame's. Tasks are all that the main thread did
from the first piece to half a second after the last, in CPU time as the browser tells it, with what style, layout and
paint take, without a GPU; the worst frame is the longest task.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, CDPSession, sync_playwright

from tools.services.browser import ARGUMENTS, chromium

_HERE = Path(__file__).resolve().parent
_STATIC = _HERE.parent / "llmstream" / "static"
_WAYS = ("widget", "renderer", "usual", "text", "nothing")
_PAGE = """<!doctype html><html><head><title>Benchmark</title>
<link rel="stylesheet" href="/static/llmstream/chat.css" data-llmstream>
<style>.box { height: 40rem; overflow-y: auto } main { display: block; width: 60rem }</style>
<script src="/vendor/purify.min.js"></script><script type="module" src="/widget.js"></script>
</head><body><main></main></body></html>"""
_SECTION = """## Step {number}: what it is about

The **first** thing is `call_{number}()` with *some* words around it, and a [link](https://example.com/{number}).
It goes on for a second line, so that the paragraph is wrapped and has to be laid out again while it grows.

- One item with **bold** words
- Another one, with `code` in it
  - and one that is nested
- The last one

```python
def call_{number}(values: list[int]) -> int:
    total = 0
    for value in values:
        total += value * {number}
    return total
```

| name | value | note |
|------|------:|------|
| one  | {number} | the first |
| two  | 2 | the second of them |

> Quoted: nothing is as it seems, and *that* is all right.

1. First this
2. Then that

"""
TEXT = "# A long answer\n\n" + "".join(_SECTION.format(number=number) for number in range(1, 32))


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of the main thread."""

    rendering: float
    worst_rendering: float
    tasks: float
    layout: float
    worst: float


class _Files(SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        """Static files of the package, and those of the benchmark."""
        if path.startswith("/static/"):
            return str(_STATIC / path.removeprefix("/static/").partition("?")[0])
        return str(_HERE / path.lstrip("/"))

    def do_GET(self) -> None:
        """The page, or a file."""
        if self.path != "/":
            return super().do_GET()
        body = _PAGE.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def served() -> Iterator[str]:
    """Serve the page; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(_HERE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


def measure(browser: Browser, url: str, way: str) -> Cost:
    """Show the text once."""
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.goto(url)
    page.wait_for_function("() => Boolean(globalThis.prepare)")
    page.evaluate("([way, text]) => prepare(way, text)", [way, TEXT])
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = _metrics(session)
    browser.start_tracing(page=page, categories=["toplevel", "blink.user_timing"])
    rendering = page.evaluate("play()")
    events = json.loads(browser.stop_tracing())["traceEvents"]
    spent = {name: 1_000 * (value - before[name]) for name, value in _metrics(session).items()}
    page.close()
    layout = spent["LayoutDuration"] + spent["RecalcStyleDuration"]
    return Cost(sum(rendering), max(rendering, default=0.0), spent["TaskDuration"], layout, _worst(events))


def _metrics(session: CDPSession) -> dict[str, float]:
    found = session.send("Performance.getMetrics")["metrics"]
    return {metric["name"]: metric["value"] for metric in found if metric["name"].endswith("Duration")}


def _worst(events: Sequence[dict[str, Any]]) -> float:
    """Return the CPU time of the longest task: on a shared machine the clock on the wall counts others, too."""
    marks = {event["name"]: event for event in events if event["name"] in ("bench-begin", "bench-end")}
    begin, end = marks["bench-begin"], marks["bench-end"]
    return max(
        float(event.get("tdur", 0)) / 1_000
        for event in events
        if (event["pid"], event["tid"]) == (begin["pid"], begin["tid"]) and begin["ts"] <= event["ts"] <= end["ts"]
    )


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.widget", description=__doc__)
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--ways", default=",".join(_WAYS))
    options = parser.parse_args()
    ways = options.ways.split(",")
    found: dict[str, list[Cost]] = {way: [] for way in ways}
    with served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        for _ in range(options.reps):
            for way in ways:
                found[way].append(measure(browser, url, way))
        browser.close()
    print(f"{len(TEXT):,} characters, {-(-len(TEXT) // 64)} frames; milliseconds, medians of {options.reps}\n")
    print("| way | rendering | worst rendering | tasks | style and layout | worst frame |")
    print("|---|---:|---:|---:|---:|---:|")
    for way, costs in found.items():
        # Rendering is timed where a way renders by itself; the widget does within the browser's frame.
        figures = [median(getattr(cost, item.name) for cost in costs) for item in fields(Cost)]
        cells = [f"{figure:.1f}" if figure else "" for figure in figures]
        print(f"| {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
