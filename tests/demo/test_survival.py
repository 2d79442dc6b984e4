"""Answers outlive the browser, and the page outlives the server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Playwright, Response, expect

from tests.live.servers import Database, LiveServer
from tools.services.browser import ARGUMENTS, chromium

from .browsing import Console, Visitor
from .conftest import VisitorFactory, demo_site


@contextmanager
def killable_chromium(profile: Path) -> Iterator[str]:
    """A browser of its own, killed with all its processes at the end; gives its DevTools address."""
    command = [chromium(), "--headless", *ARGUMENTS, f"--user-data-dir={profile}", "--remote-debugging-port=0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stderr is not None
        found = next(filter(None, (re.search(r"ws://\S+", line) for line in process.stderr)))
        yield found[0]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_an_answer_outlives_the_browser(
    site: LiveServer, playwright: Playwright, tmp_path: Path, console: Console, new_visitor: VisitorFactory
) -> None:
    again = new_visitor().sign_in()
    with killable_chromium(tmp_path) as address:
        doomed = Visitor(playwright.chromium.connect_over_cdp(address), site.url, console)
        chat = doomed.sign_in()
        chat.send("Tell me something", model="long")
        seen = chat.grow()
        where = chat.page.url
    again.page.goto(where)
    assert again.grow(seen - 1) >= seen
    again.grow(seen)
    again.finish()
    assert again.ended() == again.stored_text()


def test_the_page_comes_back_after_a_server_crash(
    mortal_site: LiveServer, new_visitor: VisitorFactory, console: Console
) -> None:
    console.allow("Failed to load resource", "ERR_")
    chat = new_visitor(mortal_site.url).sign_in()
    chat.send("Tell me something", model="long")
    chat.grow()
    mortal_site.kill()
    expect(chat.page.locator("#connection")).to_have_text("Reconnecting")
    mortal_site.start().wait_ready()
    assert chat.ended("interrupted") == chat.stored_text() != ""
    expect(chat.page.locator("#connection")).to_have_text("Live")
    chat.page.get_by_role("button", name="Retry").click()
    chat.grow()
    chat.finish()
    assert chat.ended("completed") == chat.stored_text()


def test_a_browser_comes_back_with_its_ticket(
    demo_template: Database, tmp_path: Path, new_visitor: VisitorFactory, console: Console
) -> None:
    console.allow("Failed to load resource", "ERR_")
    server = demo_site(demo_template, tmp_path, "tests.demo.ticketed").start().wait_ready()
    try:
        chat = new_visitor(server.url).sign_in()
        opened: list[Response] = []
        chat.page.on("response", lambda found: opened.append(found) if "/events/" in found.url else None)
        chat.send("Tell me something")
        chat.ended()
        server.kill()
        expect(chat.page.locator("#connection")).to_have_text("Reconnecting")
        server.start().wait_ready()
        expect(chat.page.locator("#connection")).to_have_text("Live")
        chat.send("And more")
        chat.ended()
    finally:
        server.kill()
    # Middleware sets the header, and has nothing to do with a client that comes back.
    assert ["x-frame-options" in found.headers for found in (opened[0], opened[-1])] == [True, False]


def test_a_visitor_whose_session_ended_is_told(new_visitor: VisitorFactory, console: Console) -> None:
    console.allow("401", "403")
    chat = new_visitor().sign_in()
    chat.send("Tell me something")
    chat.ended()
    chat.visitor.context.clear_cookies()
    chat.send("Are you there?")
    expect(chat.page.get_by_role("alert")).to_contain_text("signed out")
    expect(chat.box).to_have_value("Are you there?")
