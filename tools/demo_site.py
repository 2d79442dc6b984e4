"""What every way of trying the demo site needs: its model, its database, its users and a port."""

from __future__ import annotations

import os
import socket
from typing import Final

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from llmstream.providers.local_model import ModelUnavailable, fetch_model

from .environment import ROOT, say

HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8000
PORTS_TRIED: Final = 50
NO_MODEL: Final = """
  The embedded model is not available: {error}
  Answers come from the SCRIPTED provider instead: they are canned text, not a model.
"""


def prepare_model() -> None:
    """Fetch the embedded model unless another one is asked for; scripted answers take its place when it fails."""
    if openai := next((name for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL") if os.environ.get(name)), None):
        say(f"{openai} is set: the embedded model is not needed.")
    elif os.environ.get("LLMSTREAM_DEMO_MODEL", "local") == "local":
        try:
            fetch_model()
        except ModelUnavailable as error:
            say(NO_MODEL.format(error=error))
            os.environ["LLMSTREAM_DEMO_MODEL"] = "scripted"


def prepare_site() -> None:
    """Bring the database up to date, create the demo users and say which model answers."""
    os.chdir(ROOT)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    call_command("demo_users")
    connections.close_all()
    model = settings.LLMSTREAM["MODELS"][settings.LLMSTREAM["DEFAULT_MODEL"]]
    say(f"Model: {model.get('LABEL') or model.get('MODEL')}")


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
    raise SystemExit(f"Port {ports[0]} is taken; choose another one, such as PORT=9000")
