"""Virtual environments of this checkout: made once, and again when what they are made of changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECK = "import ensurepip, sqlite3, ssl, venv"
NO_VENV = """{python} cannot make virtual environments: the modules venv and ensurepip are missing.
On Debian and Ubuntu: apt-get install python3-venv"""


def say(text: str) -> None:
    """Print one line of what is going on, at once."""
    print(text, flush=True)


def ensure(name: str, *arguments: str, python: str) -> Path:
    """Return the interpreter of environment ``name``, in which ``pip install *arguments`` has been done.

    Does nothing when the interpreter, the arguments and the requirements are those of the last time.
    """
    home = ROOT / name
    executable, made_by, stamp = home / "bin" / "python", home / "interpreter", home / "stamp"
    wanted = _fingerprint(python, arguments)
    if _read(stamp) == wanted and executable.exists():
        return executable
    started = time.monotonic()
    interpreter = os.path.realpath(python)
    say(f"==> {name}: packages for {Path(interpreter).name}")
    if _read(made_by) != interpreter:
        if not _passes(python, CHECK):
            raise SystemExit(NO_VENV.format(python=python))
        subprocess.run([python, "-m", "venv", "--clear", str(home)], check=True)
        made_by.write_text(interpreter)
    _install(executable, arguments, home / "install.log")
    stamp.write_text(wanted)
    say(f"    done in {time.monotonic() - started:.0f} s")
    return executable


def interpreters() -> list[tuple[tuple[int, int], str]]:
    """Return version and path of the usable Pythons from 3.11 to 3.14 on this machine, oldest first; at least one."""
    found: dict[tuple[int, int], str] = {}
    for minor in range(11, 15):
        for path in _candidates(minor):
            if _runs_as(path, minor):
                found[3, minor] = path
                break
    if not found:
        raise SystemExit(NO_VENV.format(python=sys.executable))
    return sorted(found.items())


def _candidates(minor: int) -> Iterator[str]:
    if sys.version_info[:2] == (3, minor):
        yield sys.executable
    if on_path := shutil.which(f"python3.{minor}"):
        yield on_path
    for path in sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3.{minor}"), reverse=True):
        yield str(path)


def _runs_as(path: str, minor: int) -> bool:
    return _passes(path, f"{CHECK}, sys; sys.exit(sys.version_info[:2] != (3, {minor}))")


def _passes(python: str, code: str) -> bool:
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _fingerprint(python: str, arguments: Sequence[str]) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    requirements = [file.read_text() for file in sorted(ROOT.glob("requirements*.txt"))]
    parts = (os.path.realpath(python), *arguments, *requirements, str(project["project"]), str(project["build-system"]))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _install(python: Path, arguments: Sequence[str], log: Path) -> None:
    say(f"    pip install {' '.join(arguments)}")
    log.unlink(missing_ok=True)
    # The pip that comes with Python 3.11 needs twice the time of a current one.
    _pip(python, ["--upgrade", "pip"], log)
    _pip(python, arguments, log)


def _pip(python: Path, arguments: Sequence[str], log: Path) -> None:
    """Run pip with one line of progress on a terminal; its whole output goes to ``log`` and is shown when it fails."""
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    with (
        log.open("a") as out,
        subprocess.Popen(
            [*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        for line in process.stdout or ():
            out.write(line)
            _progress(line)
    _progress("")
    if process.returncode:
        tail = "".join(log.read_text().splitlines(keepends=True)[-25:])
        raise SystemExit(f"{tail}\npip failed; all it said is in {log.relative_to(ROOT)}")


def _progress(line: str) -> None:
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 5
        sys.stdout.write(f"\r\x1b[K    {line.strip()[:width]}" if line else "\r\x1b[K")
        sys.stdout.flush()
