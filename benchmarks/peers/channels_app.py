"""A Channels consumer as its documentation builds one: a group for each answer, one ``group_send`` for each token.

Nothing is stored; session and user are read from the site's database when a socket is opened. ``BENCH_LAYER`` is
``pubsub`` or ``core``.
"""

from __future__ import annotations

import asyncio
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse

from benchmarks.databases import django_databases
from benchmarks.layers import channel_layers
from benchmarks.source import Answer, paced

settings.configure(
    SECRET_KEY="benchmarks",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DATABASES=django_databases(),
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    CHANNEL_LAYERS=channel_layers(),
    INSTALLED_APPS=[
        "channels",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
)
django.setup()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.urls import path  # noqa: E402

sources: set[asyncio.Task[None]] = set()


def group_of(room: int) -> str:
    """The group of a room's sockets."""
    return f"answer_{room}"


class AnswerConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """Shows one room's answers."""

    async def connect(self) -> None:
        """Let users in."""
        self.group = group_of(self.scope["url_route"]["kwargs"]["room"])
        if not self.scope["user"].is_authenticated:
            await self.close()
            return
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        """Leave the group."""
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def answer_token(self, event: dict[str, Any]) -> None:
        """Pass a token on."""
        await self.send_json({"type": "text-delta", "delta": event["text"]})


async def generate(room: int, answer: Answer) -> None:
    """Send each token to the group."""
    layer, group = get_channel_layer(), group_of(room)
    async for text in paced(answer):
        await layer.group_send(group, {"type": "answer.token", "text": text})


async def start(request: HttpRequest, room: int) -> HttpResponse:
    """Start the answer that the query asks for."""
    if not (await request.auser()).is_authenticated:
        return HttpResponse(status=401)
    task = asyncio.create_task(generate(room, Answer.from_query(request.META["QUERY_STRING"])))
    sources.add(task)
    task.add_done_callback(sources.discard)
    return HttpResponse(status=202)


urlpatterns = [path("rooms/<int:room>", start)]
sockets = URLRouter([path("rooms/<int:room>", AnswerConsumer.as_asgi())])
app = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(sockets)),
    }
)
