"""A site fresh from ``startproject``, with the README's lines and nothing else, streams an answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from httpx_sse import connect_sse

from tests.upstream import Upstream
from tools.services.ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent


def snippets() -> dict[str, str]:
    """Return the README's additions by the file that they go into."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"In `(\w+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    return dict(found)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """The service that stands in for OpenAI's."""
    with Upstream() as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, upstream: Upstream) -> Iterator[str]:
    """The site's address, served by ``runserver``."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "mysite.settings",
        "OPENAI_API_KEY": "key",
        "OPENAI_BASE_URL": upstream.url,
    }

    def manage(*arguments: str) -> None:
        subprocess.run([sys.executable, "manage.py", *arguments], cwd=tmp_path, env=environment, check=True, timeout=60)

    subprocess.run([sys.executable, "-m", "django", "startproject", "mysite", str(tmp_path)], check=True, timeout=60)
    for name, code in snippets().items():
        with (tmp_path / "mysite" / name).open("a", encoding="utf-8") as file:
            file.write(code.replace("gpt-5-mini", "answer?tokens=12&rate=50"))
    manage("migrate", "--verbosity", "0")
    manage("check")
    user = "from django.contrib.auth.models import User; User.objects.create_superuser('ann', password='pw')"
    manage("shell", "-c", user)
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def sign_in(client: httpx.Client) -> dict[str, str]:
    """Sign in through the admin; return the headers of a changing request."""
    deadline = time.monotonic() + 60
    while "csrftoken" not in client.cookies:
        assert time.monotonic() < deadline, "the site does not answer"
        try:
            client.get("/admin/login/")
        except httpx.TransportError:
            time.sleep(0.1)  # the port opens when the server is ready; there is nothing to wait on
    token = {"csrfmiddlewaretoken": client.cookies["csrftoken"], "username": "ann", "password": "pw"}
    assert client.post("/admin/login/?next=/admin/", data=token).status_code == 302
    return {"X-CSRFToken": client.cookies["csrftoken"]}


def test_a_fresh_site_streams_after_the_lines_of_the_readme(site: str) -> None:
    with httpx.Client(base_url=site, timeout=20) as client:
        headers = sign_in(client)
        conversation = client.post("/llmstream/conversations/", json={}, headers=headers).raise_for_status().json()
        prompt = {"content": "Hello"}
        with connect_sse(
            client,
            "POST",
            conversation["urls"]["messages"],
            json=prompt,
            headers={**headers, "Accept": "text/event-stream"},
        ) as source:
            events = [event.json() for event in source.iter_sse() if event.data]
        text = "".join(event["delta"] for event in events if event["type"] == "text-delta")
        state = client.get(conversation["urls"]["self"]).json()
    assert text == "".join(f"tok{n} " for n in range(12))
    assert events[-1]["type"] == "message-end"
    assert events[-1]["status"] == "completed"
    assert state["messages"][-1]["parts"] == [{"type": "text", "text": text}]
