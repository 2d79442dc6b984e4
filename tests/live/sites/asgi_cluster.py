"""The recommended wiring with workers."""

from __future__ import annotations

from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from django.core.asgi import get_asgi_application

from llmstream.http.handoff import StreamHandoff

django_application = get_asgi_application()

from llmstream.runners.worker import CHANNEL, GenerationWorker  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": StreamHandoff(django_application),
        "channel": ChannelNameRouter({CHANNEL: GenerationWorker.as_asgi()}),
    }
)
