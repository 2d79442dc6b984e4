"""What people get from the package index: built from this checkout, looked into, and run."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path

import httpx
import httpx_sse
import pytest

import llmstream
from tools.services.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "llmstream"
EXTRAS = {
    *("openai", "anthropic", "gemini", "local", "tools", "channels", "redis", "postgres", "eventstream", "daphne"),
    *("markdown", "opentelemetry", "prometheus", "testing", "test"),
}

# Stands for an environment in which no extra is installed.
NO_EXTRAS = """
import sys

class Absent:
    names = {"aiohttp", "anthropic", "channels", "channels_redis", "daphne", "django_eventstream", "google", "openai"}
    names |= {"opentelemetry", "prometheus_client", "psycopg", "pydantic", "xllamacpp"}
    names |= {"latex2mathml", "linkify_it", "markdown_it", "nh3", "pygments"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""

# What a site adds to the files that startproject makes.
ADDED = {
    "settings.py": """
INSTALLED_APPS = [*INSTALLED_APPS, "llmstream"]
ASGI_APPLICATION = "mysite.asgi.application"
LLMSTREAM = {"MODELS": {"default": {"PROVIDER": "llmstream.providers.scripted.ScriptedProvider"}}}
""",
    "urls.py": """
from django.urls import include
urlpatterns += [path("llmstream/", include("llmstream.urls"))]
""",
    "asgi.py": """
from llmstream.http.handoff import StreamHandoff
application = StreamHandoff(application)
""",
}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist and, built from it, the wheel."""
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT)]
    built = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
    assert built.returncode == 0, built.stdout
    return target


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The wheel, which serves every platform."""
    return dist / f"llmstream-{llmstream.__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """The wheel's core metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read(f"llmstream-{llmstream.__version__}.dist-info/METADATA"))


def source_files() -> set[str]:
    """Every file of the package in the checkout: code, migrations, templates, static files, locale, py.typed."""
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_wheel_carries_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    files = {name for name in names if ".dist-info/" not in name}
    assert files == source_files()
    assert {"llmstream/py.typed", "llmstream/migrations/0001_initial.py"} <= files
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_sdist_carries_what_the_wheel_is_built_from_and_nothing_else(dist: Path) -> None:
    with tarfile.open(dist / f"llmstream-{llmstream.__version__}.tar.gz") as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    about = {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore"}
    assert names == source_files() | about


def test_metadata_names_licence_python_and_extras(metadata: Message) -> None:
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS


def test_core_needs_only_django_and_orjson(metadata: Message) -> None:
    requirements = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(requirements) == ["django>=5.2", "orjson>=3.10"]


class FreshSite:
    """A new project beside the unpacked wheel, run by an interpreter without the extras."""

    def __init__(self, home: Path, wheel: Path) -> None:
        self.home = home
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(home)
        (home / "sitecustomize.py").write_text(NO_EXTRAS)
        self.python("-m", "django", "startproject", "mysite", ".")
        for name, lines in ADDED.items():
            with (home / "mysite" / name).open("a") as file:
                file.write(lines)

    @property
    def env(self) -> dict[str, str]:
        """The environment of the site's processes."""
        inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        return {**inherited, "PYTHONPATH": str(self.home), "DJANGO_SUPERUSER_PASSWORD": "secret"}

    def python(self, *arguments: str) -> str:
        """Run Python in the site to its end, which must be a success; return what it printed."""
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=self.home, env=self.env, capture_output=True, check=False, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def serve(self) -> Iterator[httpx.Client]:
        """Run the site's server; yield a client signed in through the admin."""
        port = free_port()  # Not sooner: others look for one, too.
        command = [sys.executable, "-m", "uvicorn", "mysite.asgi:application", "--port", str(port)]
        with (
            subprocess.Popen([*command, "--log-level", "warning"], cwd=self.home, env=self.env) as server,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client,
        ):
            try:
                while not self._is_up(client):
                    assert server.poll() is None, "the server ended"
                form = {"username": "ada", "password": "secret", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
                assert client.post("/admin/login/", data=form).status_code == 302
                client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
                yield client
            finally:
                server.kill()

    def _is_up(self, client: httpx.Client) -> bool:
        try:
            return client.get("/admin/login/").is_success
        except httpx.ConnectError:
            time.sleep(0.05)
            return False


def test_wheel_streams_an_answer_in_a_fresh_project_without_any_extra(wheel: Path, tmp_path: Path) -> None:
    site = FreshSite(tmp_path, wheel)
    assert site.python("-c", "import llmstream; print(llmstream.__file__)").startswith(str(tmp_path))
    site.python("manage.py", "check")
    site.python("manage.py", "migrate", "--verbosity=0")
    site.python("manage.py", "makemigrations", "--check", "--dry-run")
    site.python("manage.py", "createsuperuser", "--noinput", "--username=ada", "--email=ada@example.com")
    with site.serve() as client:
        urls = client.post("/llmstream/conversations/", json={}).raise_for_status().json()["urls"]
        prompt = {"content": "Hello"}
        with httpx_sse.connect_sse(
            client, "POST", urls["messages"], json=prompt, headers={"Accept": "text/event-stream"}
        ) as source:
            events = [event.json() for event in source.iter_sse() if event.data]
        state = client.get(urls["self"]).raise_for_status().json()
    shown = "".join(event["delta"] for event in events if event["type"] == "text-delta")
    assert events[-1]["type"] == "message-end"
    assert shown
    assert state["messages"][-1]["parts"] == [{"type": "text", "text": shown}]
