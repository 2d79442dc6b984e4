"""Second half of ``make demo``, inside its virtual environment: model, database, users, server."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import django
import uvicorn
from django.conf import settings
from django.core.management import CommandError, call_command

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
DEFAULT_PORT = 8000
PORTS_TRIED = 50
NO_MODEL = """
  The embedded model is not available: {error}
  Answers come from the SCRIPTED provider instead: they are canned text, not a model.
"""


class DemoServer(uvicorn.Server):
    """Says where it is once it can be reached."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as usual, then print the address."""
        await super().startup(sockets)
        if self.started and sockets:
            print(f"\n  http://{HOST}:{sockets[0].getsockname()[1]}/   (Ctrl-C ends it)\n", flush=True)


def prepare_model() -> None:
    """Fetch the embedded model unless another one is asked for; start over with scripted answers when it fails."""
    if openai := next((name for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL") if os.environ.get(name)), None):
        print(f"{openai} is set: the embedded model is not needed.", flush=True)
        return
    if os.environ.get("LLMSTREAM_DEMO_MODEL", "local") != "local":
        return
    try:
        call_command("llmstream_fetch_model")
    except (CommandError, OSError) as error:
        print(NO_MODEL.format(error=error), flush=True)
        os.environ["LLMSTREAM_DEMO_MODEL"] = "scripted"
        os.execv(sys.executable, [sys.executable, "-m", "tools.demo_server"])


def prepare_site() -> None:
    """Bring the database up to date, create the demo users and say which model answers."""
    call_command("migrate", verbosity=0, interactive=False)
    call_command("demo_users")
    model = settings.LLMSTREAM["MODELS"][settings.LLMSTREAM["DEFAULT_MODEL"]]
    print(f"Model: {model.get('LABEL') or model.get('MODEL')}", flush=True)


def listen() -> socket.socket:
    """Bind the port of ``PORT``, or the first free one from 8000 on."""
    if wanted := os.environ.get("PORT"):
        ports = range(int(wanted), int(wanted) + 1)
    else:
        ports = range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED)
    for port in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            listener.close()
        else:
            return listener
    raise SystemExit(f"Port {ports[0]} is taken; choose another one: make demo PORT=9000")


def main() -> None:
    """Set up and serve until interrupted."""
    os.chdir(ROOT)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    prepare_model()
    prepare_site()
    config = uvicorn.Config(
        "project.asgi:application",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    DemoServer(config).run(sockets=[listen()])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
