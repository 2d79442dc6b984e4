"""The client on a page, as the tests drive it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from .site import PATIENCE

START = """async options => {
    const module = await import("/static/llmstream/client.js");
    Object.assign(globalThis, module, {log: [], rooms: {}, states: []});
    globalThis.client = new module.LLMStream(options);
    client.on("state", ({data}) => states.push(data));
}"""
JOIN = """([id, options]) => {
    const room = rooms[id] = client.room(id, options);
    room.on("event", ({data, id: event}) => log.push([id, event, data]));
}"""
# Keeps the outcome of a promise for later.
COMMAND = """([name, room, method, args]) => {
    globalThis[name] = {};
    rooms[room][method](...args).then(
        result => globalThis[name] = {result},
        ({code, status, body}) => globalThis[name] = {error: {code, status, body}},
    );
}"""


class ClientPage:
    """One page with one client, whose time stands still but for ``run``."""

    def __init__(self, page: Page) -> None:
        self.page = page
        if page.context.pages == [page]:
            # All tabs of a browser have one clock.
            page.clock.install(time=0)
            page.clock.pause_at(1_000)
        # The longest delay that jitter allows.
        page.evaluate("Math.random = () => 0.999999")

    def start(self, **options: Any) -> None:
        """Make a client."""
        self.page.evaluate(START, options)

    def join(self, room: str = "c", **options: Any) -> None:
        """Enter a room; its events are in ``log`` from now on."""
        self.page.evaluate(JOIN, [room, options])

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.page.clock.run_for(int(seconds * 1_000))

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Let time pass in small steps until something has happened."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "nothing has happened"
            self.run(0.5)

    def wait(self, condition: str) -> Any:
        """Wait until an expression is true; return its value."""
        # Playwright's own way needs eval, which the content policy forbids.
        deadline = time.monotonic() + PATIENCE
        while not (found := self.page.evaluate(condition)):
            assert time.monotonic() < deadline, f"{condition} has not come true"
            time.sleep(0.01)
        return found

    def status(self, status: str) -> dict[str, Any]:
        """Wait until the connection stands like this; return its state."""
        state: dict[str, Any] = self.wait(f"client.state.status === {status!r} && client.state")
        return state

    def delay(self) -> int:
        """Wait until the connection is broken; return the milliseconds until the next try."""
        self.status("waiting")
        return int(self.page.evaluate("Math.round(client.state.retryAt - Date.now())"))

    def ids(self, count: int) -> list[str]:
        """Wait until so many events have arrived; return their ids."""
        self.wait(f"log.length >= {count}")
        return [event for _, event, _ in self.log]

    @property
    def log(self) -> list[list[Any]]:
        """Room, id and event of everything that has arrived."""
        found: list[list[Any]] = self.page.evaluate("log")
        return found

    def command(self, method: str, *args: Any, room: str = "c", name: str = "outcome") -> None:
        """Give a command; ``outcome`` waits for what becomes of it."""
        self.page.evaluate(COMMAND, [name, room, method, args])

    def outcome(self, name: str = "outcome") -> dict[str, Any]:
        """Wait for the ``result`` or the ``error`` of a command."""
        found: dict[str, Any] = self.wait(f"(globalThis.{name}.result || globalThis.{name}.error) && globalThis.{name}")
        return found

    def hide(self, hidden: bool = True) -> None:
        """Put the page out of sight, or back."""
        self.page.evaluate(
            """hidden => {
                Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
                document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    def network(self, there: bool) -> None:
        """Take the network away from the browser, or bring it back; open connections do not notice."""
        self.page.context.set_offline(not there)
