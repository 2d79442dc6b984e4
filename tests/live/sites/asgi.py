"""The recommended wiring: streams run outside Django's request cycle."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

from llmstream.http.handoff import StreamHandoff

application = StreamHandoff(get_asgi_application())
