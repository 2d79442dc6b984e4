"""The browser of this machine."""

from __future__ import annotations

import os
import shutil

# Chromium without windows first: the same engine for half of the CPU.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: How the tests start it.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The address bar's pop-ups are pages, drawn for every window in a process of their own.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup",
)


def find_chromium() -> str | None:
    """Return the path of Chromium or Chrome, CHROMIUM from the environment first, or None."""
    if given := os.environ.get("CHROMIUM"):
        return shutil.which(given)
    return next(filter(None, map(shutil.which, NAMES)), None)


def chromium() -> str:
    """Return the path of Chromium or Chrome, for Playwright's ``executable_path``; a missing one is an error."""
    if path := find_chromium():
        return path
    raise RuntimeError("The browser tests need Chromium: run them by `make test`, or set CHROMIUM to its path.")
