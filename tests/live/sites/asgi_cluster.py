"""The recommended wiring with workers."""

from __future__ import annotations

from channels.routing import ChannelNameRouter, ProtocolTypeRouter

from llmstream.runners.worker import CHANNEL, GenerationWorker
from tests.asgi import application as web

application = ProtocolTypeRouter(
    {**web.application_mapping, "channel": ChannelNameRouter({CHANNEL: GenerationWorker.as_asgi()})}
)
