"""``make test``, ``make lint``, ``make bench`` and ``make chaos``: everything they need, then everything they run."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .environment import ROOT, ensure, interpreters, say
from .services.browser import find_chromium

# Without compiling everything: a test run imports a tenth of it.
INSTALL = ("--no-compile", "-r", "requirements.txt", "-e", ".[test]")
NO_TESTS_COLLECTED = 5
INTERRUPTED = 130
STARTED = time.monotonic()
# Most tests wait for servers, browsers and timers, so more of them run at once than there are cores to run on; not many
# more, since each process of tests keeps servers of its own.
PARALLEL = ("-n", str(1 + min(os.cpu_count() or 1, 4)), "--dist", "loadfile", "--no-loadscope-reorder")
# On the newest Django, so that both runs end within half an hour on two cores: what Django itself decides. What is left
# out is about the log, processes, browsers, services and the wheel.
NEWEST = (
    *(str(file.relative_to(ROOT)) for file in sorted(ROOT.glob("tests/test_*.py")) if file.stem != "test_package"),
    *(f"tests/{name}" for name in ("admin", "http", "websocket")),
    *(f"tests/live/test_{name}.py" for name in ("quickstart", "tasks")),
)
NO_BROWSER = """The browser tests need Chromium or Chrome, and this user may not install it.
On Debian: apt-get install chromium. Elsewhere: name it in CHROMIUM=/path/to/chrome."""
# Tests talk to fakes on this machine, whatever the developer's shell is set up for. Bytecode is kept: hundreds of
# servers start, and each would compile the same modules.
FOREIGN = (
    "PYTHONDONTWRITEBYTECODE",
    *("DJANGO_SETTINGS_MODULE", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "LLMSTREAM_DEMO_MODEL"),
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"),
    *("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_USE_VERTEXAI"),
)


def run(
    title: str, *command: str | Path, allowed: tuple[int, ...] = (0,), env: Mapping[str, str] | None = None
) -> None:
    """Run one step of the suite; a status that is not ``allowed`` ends everything with that status."""
    say(f"==> {title}")
    started = time.monotonic()
    clean = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    process = subprocess.Popen([str(part) for part in command], cwd=ROOT, env={**clean, **(env or {})})
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # It was told, too: what it says of how far it came comes before this line.
        process.wait()
        say(f"==> {title}: interrupted after {time.monotonic() - started:.0f} s")
        raise
    if status not in allowed:
        say(f"==> {title}: failed with status {status}")
        raise SystemExit(status if status > 0 else 1)
    say(f"    {title}: {time.monotonic() - started:.0f} s")


def lint(python: Path) -> None:
    """Style, format and types."""
    style(python)
    types(python)


def style(python: Path) -> None:
    """What takes no time."""
    run("ruff check", python, "-m", "ruff", "check")
    run("ruff format --check", python, "-m", "ruff", "format", "--check")


def types(python: Path) -> None:
    """A minute and a half on one core."""
    run("mypy --strict", python, "-m", "mypy")


def test(python: Path) -> None:
    """Linters, then the suite on the oldest supported Django, then on the newest one if an interpreter allows."""
    with ThreadPoolExecutor(3) as aside:
        # While packages come over the network and types are checked on one core, the others have work to do.
        newest = aside.submit(newest_django)
        fetched = aside.submit(run, "embedded model", python, "manage.py", "llmstream_fetch_model")
        style(python)
        checked = aside.submit(types, python)
        run("makemigrations --check", python, "-m", "django", "makemigrations", "--check", "--settings=tests.settings")
        django6 = newest.result()
        # The contract first, so that the last summary is the whole suite's.
        contract(python, "Django 5.2")
        checked.result()
        fetched.result()
    everything(python, "Django 5.2")
    if django6 and time_is_left():
        everything(django6, "Django 6", *NEWEST)


def time_is_left() -> bool:
    """Whether the last step may begin: after ``SUITE_SECONDS``, when that is set, it may not."""
    limit = float(os.environ.get("SUITE_SECONDS") or "inf")
    if (taken := time.monotonic() - STARTED) < limit:
        return True
    say(f"==> Django 6 was NOT tested: {taken:.0f} s are gone, SUITE_SECONDS is {limit:.0f}; make test has no limit")
    return False


def newest_django() -> Path | None:
    """Return an interpreter with the newest Django 6, or None when no Python here is new enough for it."""
    version, newest = interpreters()[-1]
    if version >= (3, 12):
        return ensure(".venv-django6", *INSTALL, "django>=6,<7", python=newest)
    say("==> Django 6 is left out: it needs Python 3.12, and PATH and ~/.pyenv/versions have none from 3.12 to 3.14")
    return None


def contract(python: Path, label: str) -> None:
    """What holds on every database, on PostgreSQL."""
    arguments = shlex.split(os.environ.get("PYTEST_ARGS", ""))
    command: list[str | Path] = [python, "-m", "pytest", *PARALLEL, *arguments]
    # A selection such as one file may hold no contract test.
    allowed = (0, NO_TESTS_COLLECTED) if arguments else (0,)
    run(
        f"pytest, {label}, PostgreSQL: contract tests",
        *command,
        *("-m", "contract"),
        allowed=allowed,
        env={"LLMSTREAM_TEST_DB": "postgres"},
    )


def everything(python: Path, label: str, *selection: str) -> None:
    """The whole suite or a selection of it on SQLite; its live tests start servers on PostgreSQL too."""
    arguments = shlex.split(os.environ.get("PYTEST_ARGS", ""))
    what = "what the framework can change" if selection else "everything"
    run(f"pytest, {label}, SQLite: {what}", python, "-m", "pytest", *PARALLEL, *selection, *arguments)


def ensure_chromium() -> None:
    """Install Debian's Chromium when no browser is found; needs root or a sudo that asks nothing."""
    if find_chromium():
        return
    root = as_root()
    if root is not None and shutil.which("apt-get"):
        apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-qq"]
        subprocess.run([*apt, "update"], stdout=subprocess.DEVNULL, check=False)
        # Older releases have the second only.
        for package in ("chromium-headless-shell", "chromium"):
            if not find_chromium():
                say(f"==> apt-get install {package}")
                command = [*apt, "install", "--no-install-recommends", package, "fonts-liberation"]
                subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if not find_chromium():
        raise SystemExit(NO_BROWSER)


def as_root() -> list[str] | None:
    """Return what to put before a command that needs root, or None when this user has no way."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return [sudo, "-n"]
    return None


def bench(python: Path) -> None:
    """The benchmark suite; BENCH_ARGS go to it."""
    run("benchmarks", python, "-m", "benchmarks", *shlex.split(os.environ.get("BENCH_ARGS", "")))


def chaos(python: Path) -> None:
    """Runs of a whole site under faults; CHAOS_SEED and CHAOS_MINUTES are for them, and CHAOS_ARGS go to them."""
    run("chaos", python, "-m", "tests.chaos", *shlex.split(os.environ.get("CHAOS_ARGS", "")))


def main() -> None:
    """Prepare the test environment on the oldest supported interpreter here, and run what the argument names."""
    commands = {"test": test, "lint": lint, "bench": bench, "chaos": chaos}
    _, oldest = interpreters()[0]
    try:
        with ThreadPoolExecutor(1) as aside:
            browser = aside.submit(ensure_chromium) if sys.argv[1] == "test" else None
            python = ensure(".venv-test", *INSTALL, "django~=5.2.0", python=oldest)
        if browser:
            browser.result()
        commands[sys.argv[1]](python)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
