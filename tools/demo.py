"""``make demo``: from a bare Python to a chat with a model in the browser."""

from __future__ import annotations

import os
import sys

from .environment import ROOT, ensure


def main() -> None:
    """Prepare the environment, then become the demo server."""
    python = ensure(".venv", "-r", "requirements.txt", python=sys.executable)
    os.chdir(ROOT)
    os.execv(python, [str(python), "-m", "tools.demo_server"])


if __name__ == "__main__":
    main()
