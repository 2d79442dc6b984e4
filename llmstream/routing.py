"""WebSocket routes, for the ``URLRouter`` of a site's ``asgi.py``."""

from __future__ import annotations

from django.urls import path

from .consumers import ChatConsumer

websocket_urlpatterns = [path("ws/llmstream/", ChatConsumer.as_asgi(), name="llmstream-socket")]
